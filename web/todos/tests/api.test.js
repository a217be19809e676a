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
  const api = new Api(async (url, init) => {
    asked.push({ url, init });
    const answer = answers.shift();
    if (answer instanceof Response) return answer;
    throw answer;
  });
  return { api, asked };
}

/** @type {import("../operations.js").Task} */
const milk = {
  guid: "/task/1",
  description: "milk",
  isDone: false,
  version: 2,
  createdAt: "2026-11-30T10:00:00.000Z",
  updatedAt: "2026-11-30T10:00:00.000Z",
  tag: "v2-a",
};

/** @param {unknown} content @param {ResponseInit} [init] */
const reply = (content, init) => new Response(JSON.stringify({ content }), init);

test("list returns the page of the list that is asked for", async () => {
  const { api, asked } = script(reply([{ guid: "/task/1" }]));
  assert.deepEqual(await (await api.list("/tasks?after=0")).json(), { content: [{ guid: "/task/1" }] });
  assert.deepEqual([asked[0]?.url, asked[0]?.init.cache], ["/tasks?after=0", "no-cache"]);
});

test("create carries its key", async () => {
  const { api, asked } = script(reply({ guid: "/task/1" }));
  assert.deepEqual(await api.create({ description: "milk" }, "key1"), { guid: "/task/1" });
  assert.deepEqual([asked[0]?.init.headers["Idempotency-Key"], asked[0]?.init.body], ["key1", '{"description":"milk"}']);
});

test("a failure passes when there was no answer or the server is unwell, and not when it refuses", async () => {
  const problem = { detail: "description: at most 2000 characters" };
  const refusal = new Response(JSON.stringify(problem), { status: 422 });
  const { api } = script(new TypeError("network"), new Response("", { status: 503 }), refusal);
  await assert.rejects(api.create({}, "key1"), { status: 0, isPassing: true });
  await assert.rejects(api.create({}, "key1"), { status: 503, isPassing: true });
  await assert.rejects(api.create({}, "key1"), { message: problem.detail, status: 422, isPassing: false });
});

test("change and remove name the state that they mean, by its tag", async () => {
  const { api, asked } = script(reply({ version: 3 }), new Response(null, { status: 204 }));
  assert.deepEqual(await api.change({ isDone: true }, milk), { version: 3 });
  await api.remove({ ...milk, tag: undefined });
  assert.deepEqual(
    asked.map(({ url, init }) => [url, init.method, init.body, init.headers["If-Match"]]),
    [
      ["/task/1", "PATCH", '{"isDone":true}', '"v2-a"'],
      ["/task/1", "DELETE", undefined, '"v2"'],
    ],
  );
});

test("read is null when the task is gone", async () => {
  const { api } = script(reply({ version: 3 }), new Response("", { status: 404 }));
  assert.deepEqual([await api.read("/task/1"), await api.read("/task/1")], [{ version: 3 }, null]);
});

test("change of a task that is gone says so", async () => {
  const { api } = script(new Response("", { status: 404 }));
  await assert.rejects(api.change({}, milk), { message: "Someone else has deleted this task." });
});

test("remove succeeds when the task is gone already, and fails otherwise", async () => {
  const { api } = script(new Response(null, { status: 404 }), new Response(null, { status: 503 }));
  await api.remove(milk);
  await assert.rejects(api.remove(milk), { status: 503 });
});

test("an answer that is no JSON is an ApiError", async () => {
  const { api } = script(new Response("<html>"));
  await assert.rejects(api.read("/task/1"), ApiError);
});

test("keys differ", () => {
  assert.match(createKey(), /^[0-9a-f]{32}$/);
  assert.notEqual(createKey(), createKey());
});
