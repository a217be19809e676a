import assert from "node:assert/strict";
import test from "node:test";

import { Order } from "../order.js";

/** @param {string} guid */
const task = (guid) => ({ guid, description: "", isDone: false, version: 1, createdAt: "", updatedAt: "" });
const tasks = ["/task/10", "/task/9", "new:a", "/task/100"].map(task);

/** A browser's storage, as far as it is used. */
class Cupboard {
  /** @type {string | null} */
  kept = null;
  getItem = () => this.kept;
  /** @param {string} _key @param {string} text */
  setItem = (_key, text) => void (this.kept = text);
}

/** @param {Order} order */
const sorted = (order) => order.sort(tasks).map(({ guid }) => guid);

test("tasks are in the order in which they were made until one is moved, new ones last", () => {
  assert.deepEqual(sorted(new Order(null)), ["/task/9", "/task/10", "/task/100", "new:a"]);
});

test("a moved task stays where it was put, also for another page of the browser", () => {
  const cupboard = new Cupboard();
  const order = new Order(cupboard);
  order.place("/task/100", "/task/9", ["/task/9", "/task/10", "/task/100"]);
  assert.deepEqual(sorted(order), ["/task/100", "/task/9", "/task/10", "new:a"]);
  assert.deepEqual(sorted(new Order(cupboard)), sorted(order));
  order.place("/task/100", null, sorted(order));
  assert.deepEqual(sorted(order), ["/task/9", "/task/10", "new:a", "/task/100"]);
});

test("a task keeps its place when it gets its number", () => {
  const order = new Order(null);
  order.place("new:a", "/task/9", sorted(order));
  order.rename("new:a", "/task/101");
  assert.deepEqual(
    order.sort([...tasks.slice(0, 2), task("/task/101")]).map(({ guid }) => guid),
    ["/task/101", "/task/9", "/task/10"],
  );
});

test("tasks are in their first order when what was kept can't be read", () => {
  for (const kept of ["{", "7", '{"a":1}']) {
    const cupboard = new Cupboard();
    cupboard.kept = kept;
    assert.deepEqual(sorted(new Order(cupboard)), sorted(new Order(null)));
  }
});
