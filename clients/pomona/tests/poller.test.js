/** The poll loop: what follows on each kind of answer, and how long it waits. */

import assert from "node:assert/strict";
import test from "node:test";

import { Backoff } from "../src/backoff.js";
import { answer, goLive, record, World } from "./world.js";

/** @param {World} world */
const polls = (world) => world.log.filter((line) => line.startsWith("GET")).length;

test("the next poll follows at once and acknowledges with the cursor when an answer came", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  await (await world.request("comet")).answer(answer("uid1/a.9.0", [["tasks", "x"]]));
  assert.equal((await world.request("comet")).url, "/comet/uid1/a.9.0");
  assert.equal(world.now, 0);
});

test("a poll is tried again with full jitter, doubling to 32 s, when the network fails", async () => {
  const world = new World();
  world.random = 0.999;
  const firenze = world.createFirenze();
  for (const capMs of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000]) {
    await (await world.request("comet")).fail();
    assert.equal(firenze.state, "waiting");
    const before = polls(world);
    await world.pass(capMs * 0.99);
    assert.equal(polls(world), before);
    await world.pass(capMs * 0.01);
    assert.equal(polls(world), before + 1);
  }
});

test("the back-off begins again at 1 s when an answer came between", async () => {
  const world = new World();
  world.createFirenze();
  for (let failures = 0; failures < 6; failures += 1) {
    await (await world.request("comet")).fail();
    await world.pass(32_000);
  }
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  await (await world.request("comet")).fail();
  await world.pass(500);
  assert.equal((await world.request("comet/uid1")).url, "/comet/uid1/a.1.0");
});

for (const [name, status, body] of /** @type {[string, number, string][]} */ ([
  ["502", 502, "bad gateway"],
  ["a login page", 200, "<html>"],
  ["an answer without a cursor", 200, '{"updates":[]}'],
])) {
  test(`the poll is tried again with its cursor when the answer is ${name}`, async () => {
    const world = new World();
    const firenze = world.createFirenze();
    await (await world.request("comet")).answer(answer("uid1/a.1.0"));
    await (await world.request("comet")).answer(body, status);
    assert.equal(firenze.state, "waiting");
    await world.pass(1_000);
    assert.equal((await world.request("comet/uid1")).url, "/comet/uid1/a.1.0");
  });
}

test("Retry-After is waited for, with jitter on top, when the server is full", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).answer("", 503, { "Retry-After": "7" });
  await world.pass(7_499);
  assert.equal(polls(world), 1);
  await world.pass(1);
  assert.equal(polls(world), 2);
});

test("Retry-After may be a date", async () => {
  const world = new World();
  world.now = Date.parse("2026-11-23T08:00:00Z");
  world.createFirenze();
  await (await world.request("comet")).answer("", 429, { "Retry-After": "Mon, 23 Nov 2026 08:00:10 GMT" });
  await world.pass(10_499);
  assert.equal(polls(world), 1);
  await world.pass(1);
  assert.equal(polls(world), 2);
});

test("`retry` in an answer is waited for exactly, also by a page that comes back", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0", [], { retry: 1_500 }));
  world.page.window.dispatchEvent(new Event("online"));
  await world.pass(1_499);
  assert.deepEqual([polls(world), firenze.state], [1, "waiting"]);
  await world.pass(1);
  assert.equal((await world.request("comet")).url, "/comet/uid1/a.1.0");
});

test("a poll is given up 20 s after the longest hold when nothing comes", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  const hung = await world.request("comet");
  await world.pass(44_999);
  assert.equal(hung.signal.aborted, false);
  await world.pass(1);
  assert.deepEqual([hung.signal.aborted, firenze.state], [true, "waiting"]);
});

test("the loop breaker makes polls wait when answers come at once and bring nothing", async () => {
  const world = new World();
  world.createFirenze();
  for (let polled = 0; polled < 6; polled += 1) {
    await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  }
  assert.deepEqual(world.open, []);
  await world.pass(500);
  await (await world.request("comet/uid1")).answer(answer("uid1/a.1.0"));
  await world.pass(999);
  assert.deepEqual(world.open, []);
});

test("the loop breaker also stops a server that gives a new uid each time", async () => {
  const world = new World();
  world.createFirenze();
  for (let polled = 0; polled < 6; polled += 1) {
    await (await world.request("comet")).answer(answer(`uid${polled}/a.1.0`));
  }
  assert.deepEqual(world.open, []);
});

test("a busy path is no loop", async () => {
  const world = new World();
  world.createFirenze();
  for (let sequence = 1; sequence <= 50; sequence += 1) {
    await (await world.request("comet")).answer(answer(`uid1/a.${sequence}.0`, [["tasks", "x"]]));
  }
  assert.equal(world.now, 0);
});

for (const status of [400, 410]) {
  test(`the client begins anew when its cursor is answered with ${status}`, async () => {
    const world = new World();
    world.createFirenze();
    await (await world.request("comet")).answer(answer("uid1/a.1.0"));
    await (await world.request("comet")).answer("", status);
    await world.pass(1_000);
    assert.equal((await world.request("comet")).url, "/comet/");
  });
}

test("a waiting poll goes out at once when the page comes back", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).fail();
  world.page.document.dispatchEvent(new Event("visibilitychange"));
  await world.pass(0);
  assert.equal(polls(world), 2);
});

test("a page that is being hidden wakes nothing", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).fail();
  world.page.document.visibilityState = "hidden";
  world.page.document.dispatchEvent(new Event("visibilitychange"));
  await world.pass(0);
  assert.equal(polls(world), 1);
});

test("an old poll is replaced and a young one is left alone when the page comes back", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  const held = await world.request("comet");
  await world.pass(999);
  world.page.window.dispatchEvent(new Event("online"));
  assert.equal(held.signal.aborted, false);
  await world.pass(1);
  world.page.window.dispatchEvent(new Event("online"));
  assert.equal(held.signal.aborted, true);
  assert.equal((await world.request("comet")).url, "/comet/uid1/a.1.0");
  assert.equal(firenze.state, "live");
});

test("a page from the back/forward cache polls at once", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).fail();
  world.page.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await world.pass(0);
  assert.equal(polls(world), 2);
});

test("the state tells the whole story of an outage", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "state");
  firenze.connect("tasks", () => {});
  await goLive(world, ["tasks"]);
  world.page.navigator.onLine = false;
  world.page.window.dispatchEvent(new Event("offline"));
  await world.pass(500);
  await (await world.request("comet/uid1")).fail();
  world.page.navigator.onLine = true;
  world.page.window.dispatchEvent(new Event("online"));
  await world.pass(0);
  await (await world.request("comet/uid1")).answer(answer("uid1/a.7.1", [["tasks", "x"]]));
  firenze.close();
  assert.deepEqual(
    events.map(([, { state }]) => state),
    ["live", "offline", "connecting", "offline", "connecting", "live", "closed"],
  );
});

/** @param {World} world */
const failOnce = async (world) => {
  const firenze = world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  await (await world.request("comet")).fail();
  await world.pass(500);
  return firenze;
};

test("a first poll beside the held one tells that the server is back, and its uid is forgotten", async () => {
  const world = new World();
  const firenze = await failOnce(world);
  assert.equal(firenze.state, "connecting");
  await (await world.request(/comet\/$/)).answer(answer("uid2/a.1.0"));
  assert.deepEqual([firenze.state, firenze.getDoloresId()], ["live", "uid1"]);
  await (await world.request("comet")).answer(answer("uid1/a.2.0"));
  assert.equal((await world.request("comet")).url, "/comet/uid1/a.2.0");
});

test("the poll decides when the first poll beside it is no answer or too late", async () => {
  const world = new World();
  const firenze = await failOnce(world);
  await (await world.request(/comet\/$/)).answer("<html>");
  assert.equal(firenze.state, "connecting");
  await (await world.request("comet/uid1")).fail();
  await world.pass(1_000);
  await (await world.request("comet/uid1")).fail();
  assert.deepEqual([firenze.state, world.open], ["waiting", []]);
});

test("a gap is told before the updates that follow it", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  /** @type {unknown[]} */
  const told = [];
  firenze.addEventListener("gap", ({ detail }) => told.push(detail));
  firenze.connect("tasks", (/** @type {string} */ _path, /** @type {string} */ message) => told.push(message));
  const gaps = [{ path: "tasks", reason: "expired" }];
  await (await world.request("comet")).answer(answer("uid1/a.9.0", [["tasks", "later"]], { gaps }));
  assert.deepEqual(told, [gaps[0], "later"]);
});

test("waits are long when the retries of a minute are used up, however often a poll succeeds between", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  for (let number = 2; number < 12; number += 1) {
    await (await world.request("comet/uid1")).fail();
    await world.pass(500);
    await (await world.request("comet/uid1")).answer(answer(`uid1/a.${number}.0`, [["tasks", "x"]]));
  }
  await (await world.request("comet/uid1")).fail();
  await world.pass(15_999);
  assert.deepEqual(world.open, []);
  await world.pass(1);
  assert.equal((await world.request("comet/uid1")).url, "/comet/uid1/a.11.0");
});

test("the budget of retries is whole again after a quiet minute", async () => {
  const world = new World();
  const backoff = new Backoff(() => 1, () => world.now);
  for (let retry = 0; retry < 10; retry += 1) {
    backoff.reset();
    assert.equal(backoff.next(), 1_000);
  }
  assert.equal(backoff.next(), 32_000);
  world.now += 60_000;
  backoff.reset();
  assert.equal(backoff.next(), 1_000);
});

test("a visible page that slept polls at once, and one that was only late does not", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  const held = await world.request("comet/uid1");
  world.sleep(9_000);
  await world.pass(5_000);
  assert.equal(held.signal.aborted, false);
  world.sleep(40_000);
  await world.pass(5_000);
  assert.equal(held.signal.aborted, true);
});

test("a frozen page holds no poll, and begins where it was when it is thawed", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  firenze.connect("tasks", () => {});
  await goLive(world, ["tasks"]);
  world.page.document.dispatchEvent(new Event("freeze"));
  await world.pass(60_000);
  assert.deepEqual(world.open, []);
  world.page.document.dispatchEvent(new Event("resume"));
  assert.equal((await world.request("comet/uid1")).url, "/comet/uid1/a.1.1");
  await (await world.request(/comet\/$/)).answer(answer("uid2/a.1.0"));
  assert.deepEqual([firenze.state, firenze.getDoloresId()], ["live", "uid1"]);
});

test("polls are told of with times, status, outcome and cursor, and without the uid", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "poll");
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  await world.pass(200);
  await (await world.request("comet/uid1")).answer(answer("uid1/a.3.0", [["tasks", "x"], ["tasks", "y"]]));
  await (await world.request("comet/uid1")).answer("", 503);
  const ends = events.map(([, poll]) => poll);
  assert.deepEqual(ends, [
    { startedAt: 0, endedAt: 0, status: 200, outcome: "answer", cursor: "", updates: 0, by: "tab" },
    { startedAt: 0, endedAt: 200, status: 200, outcome: "answer", cursor: "a.1.0", updates: 2, by: "tab" },
    { startedAt: 200, endedAt: 200, status: 503, outcome: "failed", cursor: "a.3.0", updates: 0, by: "tab" },
  ]);
});
