/** The todo page: puts the parts together. */

import { Backoff } from "/todos/pomona/backoff.js";
import { Firenze } from "/todos/pomona/firenze.js";

import { Api, createKey } from "./api.js";
import { describeNews, shorten } from "./news.js";
import { changeTask, createTask, applyPending, orderOf, removeTask } from "./operations.js";
import { Order } from "./order.js";
import { Outbox } from "./outbox.js";
import { describeConflict } from "./row.js";
import { MemoryStore, openStore } from "./store.js";
import { NOBODY, User } from "./user.js";
import { View } from "./view.js";

/** @import { Change } from "/todos/pomona/follow.js" */
/** @import { Operation, Task } from "./operations.js" */
/** @import { Filter } from "./view.js" */

/** Changes within this time are announced together. */
const ANNOUNCE_AFTER_MS = 400;

const REFUSED = { create: "Not added.", change: "Not saved.", remove: "Not deleted." };

// Tabs share waiting operations only where they can also agree on the tab that sends.
const { locks } = navigator;
const user = new User(new Api((url, init) => fetch(url, init)), {
  backoff: new Backoff(Math.random, Date.now),
  channel: new BroadcastChannel("todos-user"),
  onOther: () => location.reload(),
});
// First the user: data of another user in this browser must not be shown.
const identity = await user.read();
const suffix = identity === NOBODY ? "" : `/${identity}`;
// Not awaited: the list may be loaded before a slow disk answers.
const store = locks ? openStore(suffix) : Promise.resolve(new MemoryStore());
const api = new Api((url, init) => fetch(url, init), identity);
const firenze = new Firenze({ connectUrl: "/tasks/connect/%@", disconnectUrl: "/tasks/disconnect/%@", shared: identity });
/** @type {import("/todos/pomona/follow.js").Followed<Task>} */
const tasks = firenze.follow("tasks", {
  snapshot: () => api.list("/tasks"),
  fetchNext: (url) => api.list(url),
  key: "guid",
  version: orderOf,
  loadAtOnce: true,
});
const order = new Order(findStorage(), suffix);
const view = new View(document, {
  onCreate: (description) => void act(createTask(createKey(), { description })),
  onTick: (task, isDone) => void act(changeTask(createKey(), task, { isDone })),
  onEdit: (task, description) => void act(changeTask(createKey(), task, { description })),
  onDelete: remove,
  onDecide: (operation, choice) => void outbox.decide(operation, choice),
  onMove: move,
  onUndo: () => void undo(),
});

const outbox = new Outbox({
  store,
  api,
  lock: locks ? (work) => locks.request(`todos-outbox${suffix}`, work) : (work) => work(),
  backoff: new Backoff(Math.random, Date.now),
  channel: locks ? new BroadcastChannel(`todos-outbox${suffix}`) : { postMessage: () => {}, onmessage: null },
  listeners: {
    onChange: show,
    onSaved: takeAnswer,
    onFound: (task) => void tasks.apply(task),
    onConflict: (operation) => view.announce(describeConflict(operation).question),
    onRefused: takeBack,
    onOtherUser: () => void user.check(),
  },
});

/** @type {Change<Task>[]} */
let news = [];
/** The last deletion, and the task that came after it. @type {{operation: Operation, before: string | null} | null} */
let lastDeletion = null;

firenze.addEventListener("state", ({ detail }) => {
  view.showState(detail.state);
  if (detail.state === "live") void outbox.drain();
});
firenze.addEventListener("refused", () => view.notices.showError("You may not see here what others change. Reload to see it."));
tasks.addEventListener("change", ({ detail }) => takeChanges(detail.changes, detail.origin));
tasks.addEventListener("loaded", show);
tasks.addEventListener("error", () => tasks.isCut && view.notices.showError("There are more tasks than can be shown here."));
addEventListener("online", () => void outbox.drain());
addEventListener("pageshow", () => void user.check());
document.addEventListener("visibilitychange", () => document.hidden || void user.check());
addEventListener("hashchange", show);
addEventListener("storage", () => {
  order.load();
  show();
});
show();

/** Return all tasks with the user's pending changes. */
function listTasks() {
  return order.sort(applyPending(tasks.items.values(), outbox.operations, outbox.arrived));
}

function show() {
  const waiting = new Set(outbox.operations.map(({ guid }) => guid));
  view.showTasks(listTasks(), readFilter(), tasks.isLoaded, waiting.size);
}

/** @returns {Filter} */
function readFilter() {
  const name = location.hash.slice(1);
  return name === "active" || name === "done" ? name : "all";
}

/** @param {Operation} operation */
async function act(operation) {
  view.notices.clearError();
  try {
    await outbox.add(operation);
  } catch (error) {
    view.notices.showError("This browser has no room to keep that.");
    throw error;
  }
  if (operation.kind === "create") view.reveal(operation.guid);
}

/** @param {Task} task */
function remove(task) {
  const guids = listTasks().map(({ guid }) => guid);
  const operation = removeTask(createKey(), task);
  lastDeletion = { operation, before: guids[guids.indexOf(task.guid) + 1] ?? null };
  void act(operation);
  view.notices.offerUndo(`Deleted “${shorten(task.description)}”.`);
}

/** Cancel the last deletion, or create the task again in its old place. */
async function undo() {
  if (!lastDeletion) return;
  const { operation, before } = lastDeletion;
  const { base } = operation;
  lastDeletion = null;
  if (!base || (await outbox.cancel(operation.id))) return;
  const creation = createTask(createKey(), { description: base.description, isDone: base.isDone });
  const guids = listTasks().map(({ guid }) => guid);
  if (before && guids.includes(before)) order.place(creation.guid, before, guids);
  await act(creation);
}

/**
 * @param {string} guid
 * @param {string | null} before
 */
function move(guid, before) {
  order.place(guid, before, listTasks().map((task) => task.guid));
  show();
  const sorted = listTasks();
  view.announce(`Moved to ${sorted.findIndex((task) => task.guid === guid) + 1} of ${sorted.length}.`);
}

/**
 * @param {Operation} operation
 * @param {Task | null} answer
 */
function takeAnswer({ kind, guid, base }, answer) {
  if (kind === "create" && answer) {
    order.rename(guid, answer.guid);
    view.rename(guid, answer.guid);
  }
  if (answer) tasks.apply(answer);
  else if (base) tasks.apply({ ...base, version: base.version + 1, DELETE: true });
}

/**
 * @param {Operation} operation
 * @param {string} message
 */
function takeBack({ kind, members }, message) {
  if (kind === "create") view.giveBack(members.description ?? "");
  view.notices.showError(`${REFUSED[kind]} ${message}`);
}

/**
 * Show the server's changes, and announce those of others.
 *
 * @param {Change<Task>[]} changes
 * @param {"snapshot" | "update"} origin
 */
function takeChanges(changes, origin) {
  const others = changes.filter(({ item }) => origin === "update" && !outbox.isOwn(item));
  show();
  view.flash(others.map(({ item }) => item.guid));
  if (others.length > 0 && news.length === 0) setTimeout(announceNews, ANNOUNCE_AFTER_MS);
  news.push(...others);
}

function announceNews() {
  view.announce(describeNews(news));
  news = [];
}

/** @returns {Storage | null} */
function findStorage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
