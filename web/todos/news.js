/** @import { Change } from "./model.js" */

const VERBS = { added: "Added", changed: "Changed", deleted: "Deleted" };
const LONGEST = 80;

/**
 * Return what to tell someone who can't see the list about changes that others made; "" when there is nothing.
 *
 * @param {Change[]} changes
 */
export function describeNews(changes) {
  const [first] = changes;
  if (!first) return "";
  if (changes.length > 1) return `${changes.length} changes by others.`;
  const { kind, task } = first;
  const { description } = task;
  const words = description.length > LONGEST ? `${description.slice(0, LONGEST)}…` : description;
  const state = kind === "changed" ? `, ${task.isDone ? "done" : "not done"}` : "";
  return `${VERBS[kind]} elsewhere: ${words}${state}.`;
}
