/** A page learns that it hears nothing, though its polls are answered. */

import assert from "node:assert/strict";
import test from "node:test";

import { Browser } from "./browser.js";
import { answer, goLive, record, settle, World } from "./world.js";

const HOLD_MS = 25_000;

/** A page that wants `tasks`, whose first poll was answered. */
async function start() {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "state", "unconnected", "refused");
  firenze.connect("tasks", () => {});
  await (await world.request("/comet/")).answer(answer("uid1/a.1.0"));
  return { world, firenze, events };
}

/** Have the held poll end with these updates. @param {World} world @param {string} cursor @param {[string, string][]} [updates] */
const say = async (world, cursor, updates = []) =>
  (await world.request("/comet/uid1")).answer(answer(`uid1/${cursor}`, updates));

/** @param {[string, any][]} events */
const names = (events) => events.map(([type, detail]) => (type === "state" ? detail.state : `${type} ${detail.reason}`));

for (const [reason, fail] of /** @type {[string, (call: import("./world.js").Call) => Promise<void>][]} */ ([
  ["unreachable", (call) => call.fail()],
  ["status 503", (call) => call.answer("", 503)],
  ["status 429", (call) => call.answer("", 429)],
])) {
  test(`the state is unconnected while requests to connect fail as ${reason}, and live once the path is confirmed`, async () => {
    const { world, firenze, events } = await start();
    for (let tries = 0; tries < 3; tries += 1) {
      await fail(await world.request("/connect/"));
      await world.pass(4_000);
    }
    assert.deepEqual(names(events), ["live", `unconnected ${reason}`, "unconnected"]);
    await say(world, "a.2.0");
    assert.equal(firenze.state, "unconnected");
    await (await world.request("/connect/")).answer({ connected: ["tasks"], refused: [] });
    assert.equal(firenze.state, "unconnected");
    await say(world, "a.2.1", [["tasks", ""]]);
    assert.deepEqual(names(events).slice(3), ["live"]);
  });
}

test("a request to connect that gets no answer for 20 s is unreachable", async () => {
  const { world, events } = await start();
  await world.pass(20_000);
  assert.deepEqual(names(events).slice(1), ["unconnected unreachable", "unconnected"]);
});

for (const status of [400, 401, 403, 404, 405, 422]) {
  test(`a path is refused when the request to connect is answered ${status}`, async () => {
    const { world, firenze, events } = await start();
    await (await world.request("/connect/")).answer("", status);
    await world.pass(60_000);
    assert.deepEqual([names(events).slice(1, 2), firenze.state === "unconnected"], [[`refused status ${status}`], false]);
  });
}

test("a path that was connected and is not confirmed within a hold is said to be so, and asked for again", async () => {
  const { world, firenze, events } = await start();
  await (await world.request("/connect/")).answer("<html>", 200);
  await world.pass(HOLD_MS - 1);
  assert.deepEqual(names(events), ["live"]);
  await say(world, "a.2.0");
  assert.deepEqual(names(events).slice(1), ["unconnected unconfirmed", "unconnected"]);
  await (await world.request("/connect/")).answer("<html>", 200);
  await world.pass(HOLD_MS);
  await say(world, "a.3.0");
  await (await world.request("/connect/")).answer({ connected: ["tasks"], refused: [] });
  assert.equal(world.log.filter((line) => line.includes("/connect/")).length, 3);
  await say(world, "a.3.1", [["tasks", ""]]);
  assert.deepEqual([names(events).slice(3), firenze.state], [["live"], "live"]);
});

test("a confirmation may take longer than quick answers, and an outage", async () => {
  const { world, events } = await start();
  await (await world.request("/connect/")).answer({ connected: ["tasks"], refused: [] });
  for (let number = 2; number < 8; number += 1) {
    await world.pass(2_000);
    await say(world, `a.${number}.0`, [["users/7", "news"]]);
  }
  await (await world.request("/comet/uid1")).fail();
  await world.pass(60_000);
  assert.deepEqual(events.filter(([type]) => type === "unconnected"), []);
});

test("a page that gives up the path that is not heard is live", async () => {
  const { world, firenze } = await start();
  await (await world.request("/connect/")).fail();
  firenze.disconnect("tasks");
  assert.equal(firenze.state, "live");
});

test("polls that fail are told before paths that are not heard", async () => {
  const { world, firenze } = await start();
  await (await world.request("/connect/")).fail();
  await (await world.request("/comet/")).fail();
  assert.equal(firenze.state, "waiting");
});

test("every tab shows that nothing is heard, and is told of its own paths", async () => {
  const browser = new Browser();
  const [first, second] = [await browser.open(), await browser.open()];
  first.firenze.connect("tasks", () => {});
  await goLive(browser.world, ["tasks"]);
  const events = [first, second].map(({ firenze }) => record(firenze, "unconnected"));
  second.firenze.connect("users/7", () => {});
  await (await browser.world.request("/connect/")).fail();
  await settle();
  assert.deepEqual(events, [[], [["unconnected", { path: "users/7", reason: "unreachable" }]]]);
  assert.deepEqual([first.firenze.state, second.firenze.state], ["unconnected", "unconnected"]);
  // The next one that leads asks for the path as well.
  await first.crash();
  assert.deepEqual((await browser.world.request("/connect/")).body, ["users/7"]);
});
