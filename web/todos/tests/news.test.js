import assert from "node:assert/strict";
import test from "node:test";

import { describeNews } from "../news.js";

/** @import { Change } from "/todos/pomona/follow.js" */
/** @import { Task } from "../operations.js" */

/**
 * @param {"added" | "changed" | "deleted"} kind
 * @param {string} [description]
 * @returns {Change<Task>}
 */
const change = (kind, description = "milk") => ({
  kind,
  item: { guid: "/task/1", description, isDone: true, version: 1, createdAt: "", updatedAt: "" },
  previous: null,
});

test("one change is told in words, several as a number, none not at all", () => {
  assert.equal(describeNews([]), "");
  assert.equal(describeNews([change("added")]), "Added elsewhere: milk.");
  assert.equal(describeNews([change("changed")]), "Changed elsewhere: milk, done.");
  assert.equal(describeNews([change("deleted"), change("added")]), "2 changes by others.");
});

test("a long description is cut", () => {
  assert.equal(describeNews([change("added", "m".repeat(99))]), `Added elsewhere: ${"m".repeat(80)}….`);
});
