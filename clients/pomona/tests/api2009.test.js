/** The API of 2009, as the tutorial's data source uses it. */

import assert from "node:assert/strict";
import test from "node:test";

import { answer, Firenze, goLive, settle, World } from "./world.js";

test("polls begin at the prefix on the same origin when no host is given", async () => {
  const world = new World();
  world.createFirenze();
  assert.equal((await world.request("comet")).url, "/comet/");
});

test("polls go to another host when one is given", async () => {
  const world = new World();
  world.createFirenze({ host: "push.example", port: 8008, protocol: "https", prefix: "" });
  await (await world.request("push")).answer(answer("uid1/a.1.0"));
  assert.equal((await world.request("push")).url, "https://push.example:8008/uid1/a.1.0");
});

test("getDoloresId returns null before the first answer and the uid after it", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  assert.equal(firenze.getDoloresId(), null);
  await (await world.request("comet")).answer(answer("uid1/a.1.0"));
  assert.equal(firenze.getDoloresId(), "uid1");
});

test("connect calls the target's method by name with path and message, the confirmation first", async () => {
  const world = new World();
  const dataSource = {
    /** @type {string[][]} */
    received: [],
    /** @param {string} path @param {string} message */
    taskReceived(path, message) {
      this.received.push([path, message]);
    },
  };
  world.createFirenze().connect("tasks", dataSource, "taskReceived");
  await goLive(world, ["tasks"]);
  await (await world.request("comet")).answer(answer("uid1/a.2.1", [["tasks", '{"guid":"/task/1"}']]));
  assert.deepEqual(dataSource.received, [
    ["tasks", ""],
    ["tasks", '{"guid":"/task/1"}'],
  ]);
});

test("connect calls a function on its target, or alone", async () => {
  const world = new World();
  const target = {};
  /** @type {unknown[]} */
  const calls = [];
  const firenze = world.createFirenze();
  firenze.connect("tasks", target, /** @this {unknown} */ function () {
    calls.push(this);
  });
  firenze.connect("tasks", (/** @type {string} */ path) => calls.push(path));
  await goLive(world, ["tasks"]);
  assert.deepEqual(calls, [target, "tasks"]);
});

test("connect twice with the same target and action calls the handler once", async () => {
  const world = new World();
  let calls = 0;
  const target = { hear: () => (calls += 1) };
  const firenze = world.createFirenze();
  firenze.connect("tasks", target, "hear");
  firenze.connect("tasks", target, "hear");
  await goLive(world, ["tasks"]);
  assert.equal(calls, 1);
});

test("a handler that joins a confirmed path hears the confirmation too, without a request", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  firenze.connect("tasks", () => {});
  await goLive(world, ["tasks"]);
  /** @type {string[]} */
  const messages = [];
  firenze.connect("tasks", (/** @type {string} */ _path, /** @type {string} */ message) => messages.push(message));
  await settle();
  assert.deepEqual(messages, [""]);
  assert.equal(world.log.filter((line) => line.startsWith("POST")).length, 1);
});

test("a handler that throws is reported and does not stop the others", async () => {
  const world = new World();
  const failure = new Error("broken handler");
  let calls = 0;
  const firenze = world.createFirenze();
  firenze.connect("tasks", () => {
    throw failure;
  });
  firenze.connect("tasks", () => (calls += 1));
  await goLive(world, ["tasks"]);
  assert.deepEqual([world.reported, calls], [[failure], 1]);
  assert.equal((await world.request("comet")).url, "/comet/uid1/a.1.1");
});

test("disconnect gives the path back with the last handler, not before", async () => {
  const world = new World();
  const target = { first: () => {}, second: () => {} };
  const firenze = world.createFirenze();
  firenze.connect("tasks", target, "first");
  firenze.connect("tasks", target, "second");
  await goLive(world, ["tasks"]);
  firenze.disconnect("tasks", target, "first");
  await settle();
  assert.equal(world.log.at(-1), "GET /comet/uid1/a.1.1");
  firenze.disconnect("tasks", target, "second");
  const request = await world.request("/disconnect/");
  assert.deepEqual([request.url, request.body], ["/tasks/disconnect/uid1", ["tasks"]]);
});

test("connect throws a TypeError when the path is not one", async () => {
  const firenze = new World().createFirenze();
  for (const path of ["", "a b", "/tasks", "tasks/", "a//b", "é", "a".repeat(65), "x/".repeat(8) + "x"]) {
    assert.throws(() => firenze.connect(path, () => {}), TypeError, path);
  }
  firenze.close();
});

test("an update for a path nobody wants is left alone", async () => {
  const world = new World();
  world.createFirenze();
  await (await world.request("comet")).answer(answer("uid1/a.1.0", [["users/7", "x"]]));
  assert.deepEqual(world.reported, []);
});

test("close ends the poll, the state and all that follows", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  firenze.connect("tasks", () => {});
  await goLive(world, ["tasks"]);
  firenze.close();
  world.page.window.dispatchEvent(new Event("online"));
  firenze.connect("tasks/7", () => {});
  await world.pass(120_000);
  assert.deepEqual([firenze.state, world.open, firenze instanceof Firenze], ["closed", [], true]);
});

test("close within a handler stops the rest of the answer", async () => {
  const world = new World();
  let calls = 0;
  const firenze = world.createFirenze();
  firenze.connect("tasks", () => {
    calls += 1;
    firenze.close();
  });
  await goLive(world, ["tasks"]).catch(() => {});
  assert.deepEqual([calls, world.open], [1, []]);
});
