import assert from "node:assert/strict";
import test from "node:test";

import { ApiError } from "../api.js";
import { Model } from "../model.js";
import { Writer } from "../writer.js";

/** @import { Task } from "../model.js" */

/** @type {Task} */
const milk = { guid: "/task/1", description: "milk", isDone: false, version: 1 };
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A Writer whose requests are answered by the test. */
class Bench {
  model = new Model();
  /** @type {{call: unknown[], resolve: (value?: any) => void, reject: (error: Error) => void}[]} */
  sent = [];
  /** @type {string[]} */
  failures = [];
  #keys = 0;
  /** @param {unknown[]} call @returns {Promise<any>} */
  #send = (...call) => new Promise((resolve, reject) => this.sent.push({ call, resolve, reject }));
  writer = new Writer({
    model: this.model,
    api: {
      create: (...args) => this.#send("create", ...args),
      change: (...args) => this.#send("change", ...args),
      remove: (...args) => this.#send("remove", ...args),
    },
    createKey: () => `key${(this.#keys += 1)}`,
    onChange: () => {},
    onFailure: (message) => void this.failures.push(message),
  });

  constructor() {
    this.model.apply(milk);
  }

  get calls() {
    return this.sent.map(({ call }) => call);
  }
}

test("a tick is shown before the answer and stays when the server agrees", async () => {
  const bench = new Bench();
  const done = bench.writer.change("/task/1", { isDone: true });
  assert.equal(bench.model.get("/task/1")?.isDone, true);
  await settle();
  bench.sent[0]?.resolve({ ...milk, isDone: true, version: 2 });
  await done;
  assert.deepEqual([bench.model.get("/task/1")?.version, bench.model.isBeingEdited("/task/1")], [2, false]);
});

test("a change is taken back and told when it fails", async () => {
  const bench = new Bench();
  const done = bench.writer.change("/task/1", { description: "bread" });
  await settle();
  bench.sent[0]?.reject(new ApiError("The server can’t be reached.", 0));
  await done;
  assert.equal(bench.model.get("/task/1")?.description, "milk");
  assert.deepEqual(bench.failures, ["Not saved. The server can’t be reached."]);
});

test("a deletion is taken back when it fails, and final when it does not", async () => {
  const bench = new Bench();
  const failing = bench.writer.remove(milk);
  assert.equal(bench.model.get("/task/1"), null);
  await settle();
  bench.sent[0]?.reject(new ApiError("no", 500));
  await failing;
  assert.equal(bench.model.get("/task/1")?.description, "milk");
  const deleting = bench.writer.remove(milk);
  await settle();
  bench.sent[1]?.resolve();
  await deleting;
  assert.equal(bench.model.apply({ ...milk, version: 9 }), null);
});

test("two changes of one task are sent one after the other, also when the first fails", async () => {
  const bench = new Bench();
  void bench.writer.change("/task/1", { isDone: true });
  const second = bench.writer.change("/task/1", { isDone: false });
  await settle();
  assert.equal(bench.sent.length, 1);
  bench.sent[0]?.reject(new ApiError("no", 500));
  await settle();
  assert.deepEqual(bench.calls[1], ["change", "/task/1", { isDone: false }]);
  bench.sent[1]?.resolve({ ...milk, version: 3 });
  await second;
});

test("the same words sent again after a failure carry the same idempotency key", async () => {
  const bench = new Bench();
  const failing = bench.writer.create("bread");
  await settle();
  bench.sent[0]?.reject(new ApiError("no", 0));
  assert.equal(await failing, null);
  void bench.writer.create("bread");
  await settle();
  assert.deepEqual(bench.calls, [
    ["create", "bread", "key1"],
    ["create", "bread", "key1"],
  ]);
});

test("new tasks are sent one after the other, so that they are numbered in the order of writing", async () => {
  const bench = new Bench();
  void bench.writer.create("bread");
  void bench.writer.create("butter");
  await settle();
  assert.deepEqual(bench.calls, [["create", "bread", "key1"]]);
  bench.sent[0]?.resolve({ ...milk, guid: "/task/2", description: "bread" });
  await settle();
  assert.deepEqual(bench.calls[1], ["create", "butter", "key2"]);
});

test("news of one's own doing is known as such while it is under way", async () => {
  const bench = new Bench();
  assert.equal(bench.writer.isOwn(milk), false);
  const creating = bench.writer.create("bread");
  const bread = { ...milk, guid: "/task/2", description: "bread" };
  assert.equal(bench.writer.isOwn(bread), true);
  await settle();
  bench.sent[0]?.resolve(bread);
  await creating;
  assert.equal(bench.writer.isOwn(bread), false);
});
