import assert from "node:assert/strict";
import test from "node:test";

import { Api, ApiError } from "../api.js";
import { User } from "../user.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/**
 * Open two tabs of one browser, in which `signedIn.name` is signed in.
 *
 * @param {{name: string | Error}} signedIn
 */
function openTabs(signedIn) {
  /** @type {{postMessage: (data: any) => void, onmessage: any}[]} */
  const channels = [];
  /** @type {string[]} */
  const told = [];
  const api = {
    readIdentity: async () => {
      if (signedIn.name instanceof Error) throw signedIn.name;
      return signedIn.name;
    },
  };
  const open = (/** @type {string} */ tab) => {
    const channel = {
      onmessage: null,
      postMessage: (/** @type {any} */ data) =>
        channels.filter((other) => other !== channel).forEach((other) => other.onmessage?.({ data })),
    };
    channels.push(channel);
    return new User(api, { backoff: { next: () => 1, reset: () => {} }, channel, onOther: () => void told.push(tab) });
  };
  return { first: open("first"), second: open("second"), told };
}

test("a tab begins anew when another one shows that somebody else has signed in", async () => {
  const signedIn = { name: "anna" };
  const { first, second, told } = openTabs(signedIn);
  assert.equal(await first.read(), "anna");
  signedIn.name = "bert";
  assert.equal(await second.read(), "bert");
  await settled();
  assert.deepEqual(told, ["first"]);
});

test("tabs of one user leave each other alone", async () => {
  const { first, second, told } = openTabs({ name: "anna" });
  await Promise.all([first.read(), second.read()]);
  await Promise.all([first.check(), second.check()]);
  await settled();
  assert.deepEqual(told, []);
});

test("a tab waits until it knows whose it is, and stays when the server can't be asked again", async () => {
  /** @type {{name: string | Error}} */
  const signedIn = { name: new ApiError("The server can’t be reached.", 0) };
  const { first, told } = openTabs(signedIn);
  const reading = first.read();
  await settled();
  signedIn.name = "anna";
  assert.equal(await reading, "anna");
  signedIn.name = new ApiError("The server can’t be reached.", 0);
  await first.check();
  assert.deepEqual(told, []);
});

test("each call says whose it is, and is not the next user's", async () => {
  /** @type {any[]} */
  const asked = [];
  const api = new Api(async (_url, init) => {
    asked.push(init);
    return new Response("{}", { status: 403, headers: { "Roots-Identity": "bert" } });
  }, "anna");
  await assert.rejects(api.create({}, "key1"), { isOfAnother: true, isPassing: false });
  assert.equal(asked[0].headers["Roots-Identity"], "anna");
  assert.equal(await api.readIdentity(), "bert");
});

test("a server that names nobody has not said who is signed in", async () => {
  const api = new Api(async () => new Response("", { status: 503 }));
  await assert.rejects(api.readIdentity(), ApiError);
});
