import assert from "node:assert/strict";
import test from "node:test";

import { changeTask, createTask, decide, findNext, giveUp, applyPending, orderOf, rebase, removeTask, settle } from "../operations.js";

/** @import { Task } from "../operations.js" */

/**
 * @param {Partial<Task>} [more]
 * @returns {Task}
 */
const milk = (more) => ({
  guid: "/task/1",
  description: "milk",
  isDone: false,
  version: 1,
  createdAt: "2026-11-30T10:00:00.000Z",
  updatedAt: "2026-11-30T10:00:00.000Z",
  ...more,
});
const bread = milk({ guid: "/task/2", description: "bread" });

/** @param {Parameters<typeof applyPending>} arguments_ */
const shown = (...arguments_) => applyPending(...arguments_).map(({ guid, description, isDone }) => [guid, description, isDone]);

test("what the user did is shown over what the server said", () => {
  const operations = [
    changeTask("a", milk(), { isDone: true }),
    changeTask("b", milk(), { description: "oat milk" }),
    removeTask("c", bread),
    createTask("d", { description: "salt" }),
  ];
  assert.deepEqual(shown([milk(), bread], operations), [
    ["/task/1", "oat milk", true],
    ["new:d", "salt", false],
  ]);
  assert.deepEqual(
    applyPending([milk(), bread], operations.slice(0, 1)).map(({ isWaiting }) => isWaiting),
    [true, false],
  );
});

test("a new task is shown once when it has come before the answer to its creation", () => {
  const salt = milk({ guid: "/task/3", description: "salt" });
  assert.deepEqual(shown([salt], [createTask("d", { description: "salt" })], "d"), [["/task/3", "salt", false]]);
});

test("a change stays visible when its task has been deleted by others", () => {
  assert.deepEqual(shown([], [changeTask("a", milk(), { isDone: true })]), [["/task/1", "milk", true]]);
});

test("what was done on top of an operation is on top of its answer when that comes", () => {
  const creation = createTask("a", { description: "salt" });
  const [salt] = applyPending([], [creation]);
  const later = [changeTask("b", salt ?? milk(), { isDone: true }), changeTask("c", bread, { isDone: true })];
  const answer = milk({ guid: "/task/3", description: "salt" });
  assert.deepEqual(settle([creation, ...later], creation, answer), [
    { ...later[0], guid: "/task/3", base: answer },
    later[1],
  ]);
});

test("the oldest is sent next, unless its task waits for a decision", () => {
  const operations = [
    { ...changeTask("a", milk(), { description: "oat" }), conflict: { theirs: milk({ version: 2 }) } },
    changeTask("b", milk(), { isDone: true }),
    changeTask("c", bread, { isDone: true }),
  ];
  assert.equal(findNext(operations)?.id, "c");
  assert.equal(findNext(operations.slice(0, 2)), null);
  assert.equal(findNext([]), null);
});

test("both changes are kept when they are of different members", () => {
  const theirs = milk({ version: 2, isDone: true });
  const change = changeTask("a", milk(), { description: "oat" });
  assert.deepEqual(rebase(change, theirs), { ...change, base: theirs });
});

test("nothing is left to do when the task is so already, or gone as it was to be", () => {
  assert.equal(rebase(changeTask("a", milk(), { description: "oat" }), milk({ version: 2, description: "oat" })), null);
  assert.equal(rebase(removeTask("a", milk()), null), null);
});

test("the user is asked when others changed the same, changed what was deleted, or deleted what was changed", () => {
  const theirs = milk({ version: 2, description: "rice milk" });
  assert.deepEqual(rebase(changeTask("a", milk(), { description: "oat" }), theirs)?.conflict, { theirs });
  assert.deepEqual(rebase(removeTask("a", milk()), theirs)?.conflict, { theirs });
  assert.deepEqual(rebase(changeTask("a", milk(), { isDone: true }), null)?.conflict, { theirs: null });
});

test("a task is shown, with the question, while the user decides whether to delete it", () => {
  const theirs = milk({ version: 2, description: "rice milk" });
  const asking = { ...removeTask("a", milk()), conflict: { theirs } };
  assert.deepEqual(applyPending([theirs], [asking]), [{ ...theirs, isWaiting: true, conflict: asking }]);
});

test("mine goes on top of theirs, and theirs takes mine away", () => {
  const theirs = milk({ version: 2, description: "rice milk" });
  const asking = { ...changeTask("a", milk(), { description: "oat" }), conflict: { theirs } };
  const other = changeTask("b", bread, { isDone: true });
  assert.deepEqual(decide([asking, other], asking, "mine"), [{ ...asking, base: theirs, conflict: null }, other]);
  assert.deepEqual(decide([asking, other], asking, "theirs"), [other]);
});

test("a task that others deleted is made anew, with all that was done to it, or all of that goes", () => {
  const asking = { ...changeTask("a", milk({ isDone: true }), { description: "oat" }), conflict: { theirs: null } };
  const later = changeTask("b", milk(), { isDone: false });
  assert.deepEqual(decide([asking, later], asking, "mine"), [
    createTask("a", { description: "oat", isDone: true }),
    { ...later, guid: "new:a" },
  ]);
  assert.deepEqual(decide([asking, later], asking, "theirs"), []);
});

test("what was done to a task goes with its creation when that is refused, and stays with a change", () => {
  const creation = createTask("a", { description: "salt" });
  const change = { ...changeTask("b", milk(), { isDone: true }), guid: creation.guid };
  assert.deepEqual(giveUp([creation, change], creation), []);
  const [first, second] = [changeTask("c", bread, { description: "rye" }), changeTask("d", bread, { isDone: true })];
  assert.deepEqual(giveUp([first, second], first), [second]);
});

test("a version is newer than those before it, and a later task than all of an earlier one that had its guid", () => {
  const later = { createdAt: "2026-11-30T11:00:00.000Z" };
  const inOrder = [milk({ version: 9 }), milk({ version: 10 }), milk(later), milk({ ...later, version: 2 })].map(orderOf);
  assert.deepEqual([...inOrder].sort(), inOrder);
});
