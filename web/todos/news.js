/** @import { Change } from "/todos/pomona/follow.js" */
/** @import { Task } from "./operations.js" */

const VERBS = { added: "Added", changed: "Changed", deleted: "Deleted" };
const LONGEST = 80;

/**
 * Return the announcement of others' changes for a screen reader; "" when there is none.
 *
 * @param {Change<Task>[]} changes
 */
export function describeNews(changes) {
  const [first] = changes;
  if (!first) return "";
  if (changes.length > 1) return `${changes.length} changes by others.`;
  const { kind, item } = first;
  const state = kind === "changed" ? `, ${item.isDone ? "done" : "not done"}` : "";
  return `${VERBS[kind]} elsewhere: ${shorten(item.description)}${state}.`;
}

/**
 * Return a description that is short enough for a sentence.
 *
 * @param {string} description
 */
export function shorten(description) {
  return description.length > LONGEST ? `${description.slice(0, LONGEST)}…` : description;
}
