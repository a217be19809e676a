/**
 * Handles the user's actions that the server has not answered yet, and the tasks that the page shows with them.
 *
 * Pure: no network, no DOM. Promises: another user's change is overwritten only when the user decides so. Changes of
 * different members of a task are both kept.
 */

/**
 * A task as the server shows it; `tag` is its entity tag.
 *
 * @typedef {{guid: string, description: string, isDone: boolean, version: number, createdAt: string, updatedAt: string,
 *   tag?: string, DELETE?: boolean}} Task
 * @typedef {Partial<Pick<Task, "description" | "isDone">>} Members
 */

/**
 * One action of the user.
 *
 * @typedef {object} Operation
 * @property {string} id Also the idempotency key of a creation.
 * @property {"create" | "change" | "remove"} kind
 * @property {string} guid For a task that the server does not know yet: `new:` and the id of its creation.
 * @property {Members} members The members to set.
 * @property {Task | null} base The task as the user saw it; null for a creation.
 * @property {{theirs: Task | null} | null} conflict The task after another user's change, null after a
 *   deletion. The user has to decide.
 */

/** @typedef {Task & {isWaiting: boolean, conflict: Operation | null}} ShownTask */

const NEW = "new:";
const UNKNOWN = { description: "", isDone: false, version: 0, createdAt: "", updatedAt: "" };

/** Whether this is the guid of a task that the server does not know yet. @param {string} guid */
export function isNew(guid) {
  return guid.startsWith(NEW);
}

/**
 * Whether this is the task that the user saw: a restored database may give guids again.
 *
 * @param {Task} task
 * @param {Task | null} seen
 */
export function isSameTask(task, seen) {
  return task.createdAt === seen?.createdAt;
}

/**
 * Return a text that grows with each change of a task, and from one task to the next with its guid.
 *
 * @param {Task} task
 */
export function orderOf({ createdAt, version }) {
  return `${createdAt} ${String(version).padStart(19, "0")}`;
}

/**
 * @param {string} id
 * @param {Members} members
 * @returns {Operation}
 */
export function createTask(id, members) {
  return { id, kind: "create", guid: NEW + id, members, base: null, conflict: null };
}

/**
 * @param {string} id
 * @param {Task} base
 * @param {Members} members
 * @returns {Operation}
 */
export function changeTask(id, base, members) {
  return { id, kind: "change", guid: base.guid, members, base, conflict: null };
}

/**
 * @param {string} id
 * @param {Task} base
 * @returns {Operation}
 */
export function removeTask(id, base) {
  return { id, kind: "remove", guid: base.guid, members: {}, base, conflict: null };
}

/**
 * Return the tasks that the page shows: the server's, with the pending operations applied.
 *
 * @param {Iterable<Task>} tasks
 * @param {Operation[]} operations
 * @param {string | null} [arrived] A creation whose task has arrived before the answer to it.
 * @returns {ShownTask[]}
 */
export function applyPending(tasks, operations, arrived = null) {
  /** @type {Map<string, ShownTask>} */
  const shown = new Map();
  for (const task of tasks) shown.set(task.guid, { ...task, isWaiting: false, conflict: null });
  for (const operation of operations) {
    const { id, kind, guid, members, base, conflict } = operation;
    if (kind === "remove" && !conflict) shown.delete(guid);
    else if (kind !== "create" || id !== arrived) {
      const task = shown.get(guid) ?? { ...(base ?? { ...UNKNOWN, guid }), conflict: null };
      shown.set(guid, { ...task, ...members, isWaiting: true, conflict: conflict ? operation : task.conflict });
    }
  }
  return [...shown.values()];
}

/**
 * Return the operation to send next: the oldest whose task needs no decision.
 *
 * @param {Operation[]} operations
 */
export function findNext(operations) {
  const blocked = new Set(operations.filter(({ conflict }) => conflict).map(({ guid }) => guid));
  return operations.find(({ guid }) => !blocked.has(guid)) ?? null;
}

/**
 * Return the operations that are left after one was answered. Later ones of its task are based on the answer.
 *
 * @param {Operation[]} operations
 * @param {Operation} done
 * @param {Task | null} answer Null after a deletion.
 */
export function settle(operations, done, answer) {
  const left = operations.filter(({ id }) => id !== done.id);
  return left.map((other) => (answer && other.guid === done.guid ? { ...other, guid: answer.guid, base: answer } : other));
}

/**
 * Return the operations that are left after one was dropped. Those of a task that will not exist are dropped too.
 *
 * @param {Operation[]} operations
 * @param {Operation} given
 */
export function giveUp(operations, given) {
  const isGone = given.kind === "create" || given.conflict?.theirs === null;
  return operations.filter(({ id, guid }) => id !== given.id && !(isGone && guid === given.guid));
}

/**
 * Return what is left of an operation whose task has changed since the user saw it; null when nothing is left.
 *
 * @param {Operation} operation
 * @param {Task | null} theirs The task on the server, null when it is gone.
 * @returns {Operation | null}
 */
export function rebase(operation, theirs) {
  const { kind, base, members } = operation;
  if (kind === "remove" && (!theirs || isSeen(theirs, base))) return theirs && { ...operation, base: theirs };
  if (kind === "remove" || !theirs) return { ...operation, conflict: { theirs } };
  const open = memberNames(members).filter((name) => members[name] !== theirs[name]);
  if (open.length === 0) return null;
  if (open.some((name) => theirs[name] !== base?.[name])) return { ...operation, conflict: { theirs } };
  return { ...operation, base: theirs, members: Object.fromEntries(open.map((name) => [name, members[name]])) };
}

/**
 * Return the operations after the user has decided a conflict for the other's change or for the own one.
 *
 * @param {Operation[]} operations
 * @param {Operation} conflicting
 * @param {"mine" | "theirs"} choice
 */
export function decide(operations, conflicting, choice) {
  if (choice === "theirs") return giveUp(operations, conflicting);
  const theirs = conflicting.conflict?.theirs ?? null;
  if (theirs) return replace(operations, { ...conflicting, base: theirs, conflict: null });
  // The deletion stays. The task is created again, and later operations move to the new task.
  const { id, base, members, guid } = conflicting;
  const creation = createTask(id, { description: base?.description, isDone: base?.isDone, ...members });
  return replace(operations, creation).map((other) => (other.guid === guid ? { ...other, guid: creation.guid } : other));
}

/**
 * @param {Operation[]} operations
 * @param {Operation} operation
 */
export function replace(operations, operation) {
  return operations.map((other) => (other.id === operation.id ? operation : other));
}

/** Whether a task is as the user saw it. @param {Task} task @param {Task | null} seen */
function isSeen(task, seen) {
  return task.version === seen?.version && task.updatedAt === seen.updatedAt;
}

/**
 * @param {Members} members
 * @returns {(keyof Members)[]}
 */
function memberNames(members) {
  return /** @type {(keyof Members)[]} */ (Object.keys(members));
}
