import assert from "node:assert/strict";
import test from "node:test";

import { Model } from "../model.js";
import { Sync } from "../sync.js";

/** @import { Task } from "../model.js" */

/**
 * @param {number} number
 * @param {number} [version]
 * @returns {Task}
 */
const task = (number, version = 1) => ({ guid: `/task/${number}`, description: `t${number}`, isDone: false, version });

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A Sync whose list requests are answered by the test. */
class Bench {
  model = new Model();
  /** @type {{resolve: (tasks: Task[]) => void, reject: (error: Error) => void}[]} */
  asked = [];
  pauses = 0;
  /** @type {string[]} */
  told = [];
  sync = new Sync({
    model: this.model,
    api: { list: () => new Promise((resolve, reject) => this.asked.push({ resolve, reject })) },
    backoff: { next: () => 1, reset: () => {} },
    pause: async () => void (this.pauses += 1),
    onChanges: (changes, origin) => void this.told.push(`${origin}:${changes.map(({ kind }) => kind)}`),
  });

  /** @param {Task[]} tasks */
  async answer(tasks) {
    this.asked.shift()?.resolve(tasks);
    await settle();
  }
}

test("the list is loaded at start, and again when the path is confirmed", async () => {
  const bench = new Bench();
  /** @type {unknown[]} */
  const connected = [];
  bench.sync.start({ connect: (...args) => connected.push(args), addEventListener: () => {} });
  await bench.answer([task(1)]);
  assert.deepEqual(connected, [["tasks", bench.sync, "taskReceived"]]);
  bench.sync.taskReceived("tasks", "");
  await bench.answer([task(1), task(2)]);
  assert.deepEqual([bench.model.list().length, bench.asked.length], [2, 0]);
});

test("the list is loaded once more when the confirmation comes while it is on its way", async () => {
  const bench = new Bench();
  void bench.sync.load();
  bench.sync.taskReceived("tasks", "");
  bench.sync.taskReceived("tasks", "");
  await bench.answer([]);
  assert.equal(bench.asked.length, 1);
  await bench.answer([task(7)]);
  assert.deepEqual([bench.model.list().length, bench.asked.length], [1, 0]);
});

test("an update that overtakes the list is not undone by it", async () => {
  const bench = new Bench();
  void bench.sync.load();
  bench.sync.taskReceived("tasks", JSON.stringify(task(1, 2)));
  bench.sync.taskReceived("tasks", JSON.stringify({ ...task(2, 2), DELETE: true }));
  await bench.answer([task(1, 1), task(2, 1)]);
  assert.deepEqual(
    bench.model.list().map(({ guid, version }) => [guid, version]),
    [["/task/1", 2]],
  );
  assert.deepEqual(bench.told, ["update:added", "list:"]);
});

test("the list is loaded again after a gap", async () => {
  const bench = new Bench();
  /** @type {(() => void)[]} */
  const onGap = [];
  bench.sync.start({ connect: () => {}, addEventListener: (_type, listener) => onGap.push(listener) });
  await bench.answer([]);
  onGap[0]?.();
  await bench.answer([task(1)]);
  assert.equal(bench.model.list().length, 1);
});

test("the list is asked for again after a pause when that failed", async () => {
  const bench = new Bench();
  void bench.sync.load();
  bench.asked.shift()?.reject(new Error("no"));
  await settle();
  assert.deepEqual([bench.pauses, bench.asked.length, bench.model.isLoaded], [1, 1, false]);
  await bench.answer([]);
  assert.equal(bench.model.isLoaded, true);
});
