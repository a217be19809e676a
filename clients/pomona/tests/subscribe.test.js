/** subscribe and messages: what they are given, what ends them, and what happens when a loop is too slow. */

import assert from "node:assert/strict";
import test from "node:test";

import { answer, goLive, settle, World } from "./world.js";

/** Give a Firenze's `tasks` these messages. @param {World} world @param {string} cursor @param {string[]} messages */
async function say(world, cursor, ...messages) {
  const poll = await world.request("/comet/uid1/");
  await poll.answer(
    answer(
      `uid1/${cursor}`,
      messages.map((message) => ["tasks", message]),
    ),
  );
}

test("subscribe gives message and path, and the confirmation apart", async () => {
  const world = new World();
  /** @type {string[][]} */
  const told = [];
  world.createFirenze().subscribe("tasks", (message, path) => told.push([message, path]), {
    onConfirmed: (path) => told.push(["confirmed", path]),
  });
  await goLive(world, ["tasks"]);
  await say(world, "a.2.1", "one");
  assert.deepEqual(told, [
    ["confirmed", "tasks"],
    ["one", "tasks"],
  ]);
});

test("the same handler subscribed twice is called twice, and each subscription ends by itself", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  let calls = 0;
  const handler = () => (calls += 1);
  const unsubscribe = firenze.subscribe("tasks", handler);
  firenze.subscribe("tasks", handler);
  await goLive(world, ["tasks"]);
  await say(world, "a.2.1", "one");
  unsubscribe();
  unsubscribe();
  await say(world, "a.3.1", "two");
  assert.equal(calls, 3);
});

test("a signal ends its subscription, and the last one gives the path back", async () => {
  const world = new World();
  const end = new AbortController();
  world.createFirenze().subscribe("tasks", () => {}, { signal: end.signal });
  await goLive(world, ["tasks"]);
  end.abort();
  assert.deepEqual((await world.request("/disconnect/")).body, ["tasks"]);
});

test("nothing is subscribed when the signal has been given already", async () => {
  const world = new World();
  world.createFirenze().subscribe("tasks", () => {}, { signal: AbortSignal.abort() });
  await (await world.request("/comet/")).answer(answer("uid1/a.1.0"));
  assert.equal((await world.request("/comet/")).url, "/comet/uid1/a.1.0");
});

test("messages yields what came since the call, in order, and gives the path back when the loop is left", async () => {
  const world = new World();
  const messages = world.createFirenze().messages("tasks");
  await goLive(world, ["tasks"]);
  await say(world, "a.2.1", "one", "two");
  const heard = [];
  for await (const { path, message } of messages) {
    heard.push([path, message]);
    if (heard.length === 2) break;
  }
  assert.deepEqual(heard, [
    ["tasks", "one"],
    ["tasks", "two"],
  ]);
  assert.deepEqual((await world.request("/disconnect/")).body, ["tasks"]);
});

test("messages waits for the next one", async () => {
  const world = new World();
  const messages = world.createFirenze().messages("tasks");
  await goLive(world, ["tasks"]);
  const next = messages.next();
  await say(world, "a.2.1", "one");
  assert.deepEqual(await next, { value: { path: "tasks", message: "one" }, done: false });
});

for (const [name, end] of /** @type {[string, (parts: {firenze: import("./world.js").Client, end: AbortController}) => void][]} */ ([
  ["its signal is given", ({ end: controller }) => controller.abort()],
  ["the Firenze is closed", ({ firenze }) => firenze.close()],
])) {
  test(`messages ends when ${name}, also while the loop waits`, async () => {
    const world = new World();
    const firenze = world.createFirenze();
    const controller = new AbortController();
    const messages = firenze.messages("tasks", { signal: controller.signal });
    const next = messages.next();
    await settle();
    end({ firenze, end: controller });
    assert.deepEqual(await next, { value: undefined, done: true });
    assert.deepEqual(await messages.next(), { value: undefined, done: true });
  });
}

test("messages is over at once when its signal has been given already", async () => {
  const messages = new World().createFirenze().messages("tasks", { signal: AbortSignal.abort() });
  assert.deepEqual(await messages.next(), { value: undefined, done: true });
});

test("a loop that is more than its limit behind is given what waits, then a RangeError, and no more", async () => {
  const world = new World();
  const messages = world.createFirenze().messages("tasks", { limit: 2 });
  await goLive(world, ["tasks"]);
  await say(world, "a.2.1", "one", "two", "three", "four");
  assert.equal((await messages.next()).value?.message, "one");
  assert.equal((await messages.next()).value?.message, "two");
  await assert.rejects(messages.next(), RangeError);
  assert.deepEqual(await messages.next(), { value: undefined, done: true });
  assert.deepEqual((await world.request("/disconnect/")).body, ["tasks"]);
});
