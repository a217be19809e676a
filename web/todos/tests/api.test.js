import assert from "node:assert/strict";
import test from "node:test";

import { Api, ApiError, createKey } from "../api.js";

/**
 * Return an Api over scripted answers, and what it asked for.
 *
 * @param {(Response | Error)[]} answers
 */
function script(...answers) {
  /** @type {{url: string, init: any}[]} */
  const asked = [];
  const api = new Api(
    async (url, init) => {
      asked.push({ url, init });
      const answer = answers.shift();
      if (answer instanceof Response) return answer;
      throw answer;
    },
    async () => {},
  );
  return { api, asked };
}

/** @param {unknown} content @param {ResponseInit} [init] */
const reply = (content, init) => new Response(JSON.stringify({ content }), init);

test("list follows the link to the next page until there is none", async () => {
  const { api, asked } = script(
    reply([{ guid: "/task/1" }], { headers: { Link: '</tasks?after=1>; rel="next"' } }),
    reply([{ guid: "/task/2" }]),
  );
  assert.deepEqual(await api.list(), [{ guid: "/task/1" }, { guid: "/task/2" }]);
  assert.deepEqual(
    asked.map(({ url }) => url),
    ["/tasks", "/tasks?after=1"],
  );
});

test("create is repeated with the same key when there was no answer", async () => {
  const { api, asked } = script(new TypeError("network"), new Response("", { status: 503 }), reply({ guid: "/task/1" }));
  assert.deepEqual(await api.create("milk", "key1"), { guid: "/task/1" });
  assert.deepEqual(
    asked.map(({ init }) => init.headers["Idempotency-Key"]),
    ["key1", "key1", "key1"],
  );
});

test("create gives up after three tries", async () => {
  const down = () => new TypeError("network");
  const { api, asked } = script(down(), down(), down());
  await assert.rejects(api.create("milk", "key1"), ApiError);
  assert.equal(asked.length, 3);
});

test("create is not repeated, and says why, when the server refuses", async () => {
  const problem = { detail: "description: at most 2000 characters" };
  const { api, asked } = script(new Response(JSON.stringify(problem), { status: 422 }));
  await assert.rejects(api.create("x", "key1"), { message: problem.detail, status: 422 });
  assert.equal(asked.length, 1);
});

test("change sends only what changed", async () => {
  const { api, asked } = script(reply({ version: 2 }));
  assert.deepEqual(await api.change("/task/1", { isDone: true }), { version: 2 });
  assert.deepEqual([asked[0]?.url, asked[0]?.init.method, asked[0]?.init.body], ["/task/1", "PATCH", '{"isDone":true}']);
});

test("change of a task that is gone says so", async () => {
  const { api } = script(new Response("", { status: 404 }));
  await assert.rejects(api.change("/task/1", {}), { message: "Someone else has deleted this task." });
});

test("remove succeeds when the task is gone already, and fails otherwise", async () => {
  const { api } = script(new Response(null, { status: 404 }), new Response(null, { status: 503 }));
  await api.remove("/task/1");
  await assert.rejects(api.remove("/task/1"), { status: 503 });
});

test("an answer that is no JSON is an ApiError", async () => {
  const { api } = script(new Response("<html>"));
  await assert.rejects(api.list(), ApiError);
});

test("keys differ", () => {
  assert.match(createKey(), /^[0-9a-f]{32}$/);
  assert.notEqual(createKey(), createKey());
});
