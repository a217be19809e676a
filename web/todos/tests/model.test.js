import assert from "node:assert/strict";
import test from "node:test";

import { Model } from "../model.js";

/**
 * @param {number} number
 * @param {number} version
 * @param {object} [more]
 */
const task = (number, version, more = {}) => ({
  guid: `/task/${number}`,
  description: `task ${number} v${version}`,
  isDone: false,
  version,
  ...more,
});

/** @param {Model} model */
const shown = (model) => model.list().map(({ description }) => description);

test("tasks are listed by number when they come in any order", () => {
  const model = new Model();
  for (const number of [10, 9, 100]) model.apply(task(number, 1));
  assert.deepEqual(shown(model), ["task 9 v1", "task 10 v1", "task 100 v1"]);
});

test("an older or equal version changes nothing", () => {
  const model = new Model();
  assert.equal(model.apply(task(1, 3))?.kind, "added");
  assert.equal(model.apply(task(1, 3)), null);
  assert.equal(model.apply(task(1, 2)), null);
  assert.equal(model.apply(task(1, 4))?.kind, "changed");
  assert.deepEqual(shown(model), ["task 1 v4"]);
});

test("a deleted task does not come back, whatever comes later", () => {
  const model = new Model();
  model.apply(task(1, 1));
  assert.equal(model.apply(task(1, 2, { DELETE: true }))?.kind, "deleted");
  assert.equal(model.apply(task(1, 1)), null);
  assert.equal(model.apply(task(1, 3)), null);
  model.beginLoad();
  model.endLoad([task(1, 1)]);
  assert.deepEqual(shown(model), []);
});

test("a deletion is remembered when it comes before the task", () => {
  const model = new Model();
  assert.equal(model.apply(task(1, 2, { DELETE: true })), null);
  assert.equal(model.apply(task(1, 1)), null);
});

test("a loaded list removes what it lacks and keeps what is newer", () => {
  const model = new Model();
  model.apply(task(1, 1));
  model.apply(task(2, 5));
  model.beginLoad();
  const changes = model.endLoad([task(2, 4), task(3, 1)]);
  assert.deepEqual(
    changes.map(({ kind, task: { guid } }) => [kind, guid]),
    [
      ["deleted", "/task/1"],
      ["added", "/task/3"],
    ],
  );
  assert.deepEqual(shown(model), ["task 2 v5", "task 3 v1"]);
});

test("a task that came while the list was on its way survives a list without it", () => {
  const model = new Model();
  model.beginLoad();
  model.apply(task(1, 1));
  model.endLoad([]);
  assert.deepEqual(shown(model), ["task 1 v1"]);
});

test("the user's changes are laid over the server's and can be taken back one by one", () => {
  const model = new Model();
  model.apply(task(1, 1));
  const takeBackTick = model.lay("/task/1", { isDone: true });
  const takeBackText = model.lay("/task/1", { description: "mine" });
  model.apply(task(1, 2));
  assert.deepEqual([model.get("/task/1")?.description, model.get("/task/1")?.isDone], ["mine", true]);
  takeBackText();
  assert.deepEqual([model.get("/task/1")?.description, model.get("/task/1")?.isDone], ["task 1 v2", true]);
  takeBackTick();
  assert.deepEqual([model.get("/task/1")?.isDone, model.isBeingEdited("/task/1")], [false, false]);
});

test("a task deleted by the user is hidden, and shown again when that is taken back", () => {
  const model = new Model();
  model.apply(task(1, 1));
  const takeBack = model.lay("/task/1", { isDeleted: true });
  assert.deepEqual(shown(model), []);
  takeBack();
  assert.deepEqual(shown(model), ["task 1 v1"]);
});
