/** The todo page: puts the parts together. */

import { Backoff } from "/todos/pomona/backoff.js";
import { Firenze } from "/todos/pomona/firenze.js";

import { Api, createKey } from "./api.js";
import { Model } from "./model.js";
import { describeNews } from "./news.js";
import { Sync } from "./sync.js";
import { View } from "./view.js";
import { Writer } from "./writer.js";

/** @import { Change } from "./model.js" */

/** What comes within this time is announced together. */
const ANNOUNCE_AFTER_MS = 400;

/** @param {number} milliseconds @returns {Promise<void>} */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const model = new Model();
const api = new Api((url, init) => fetch(url, init), pause);
const writer = new Writer({
  model,
  api,
  createKey,
  onChange: show,
  onFailure: (message) => view.showError(message),
});
const view = new View(document, { onCreate: create, onTick: tick, onEdit: edit, onDelete: remove });
const sync = new Sync({ model, api, pause, backoff: new Backoff(Math.random), onChanges: takeChanges });
const firenze = Firenze.create({ connectUrl: "/tasks/connect/%@", disconnectUrl: "/tasks/disconnect/%@" });

/** @type {Change[]} */
let news = [];

firenze.addEventListener("state", ({ detail }) => view.showState(detail.state));
firenze.addEventListener("refused", () => view.showError("You may not see here what others change. Reload to see it."));
sync.start(firenze);
show();

function show() {
  view.showTasks(model.list(), model.isLoaded);
}

/**
 * Show what has come from the server, and tell of what others did.
 *
 * @param {Change[]} changes
 * @param {"list" | "update"} origin
 */
function takeChanges(changes, origin) {
  const others = changes.filter(({ task }) => origin === "update" && !writer.isOwn(task));
  const isTaken = others.some(({ kind, task }) => kind === "deleted" && view.isEditing(task.guid));
  show();
  view.flash(others.map(({ task }) => task.guid));
  if (isTaken) view.showError("Someone else has deleted the task you were editing.");
  if (others.length > 0 && news.length === 0) setTimeout(announceNews, ANNOUNCE_AFTER_MS);
  news.push(...others);
}

function announceNews() {
  view.announce(describeNews(news));
  news = [];
}

/** @param {string} description */
async function create(description) {
  view.clearError();
  const task = await writer.create(description);
  if (task) view.reveal(task.guid);
  return task !== null;
}

/** @param {string} guid @param {boolean} isDone */
function tick(guid, isDone) {
  view.clearError();
  void writer.change(guid, { isDone });
}

/** @param {string} guid @param {string} description */
function edit(guid, description) {
  view.clearError();
  void writer.change(guid, { description });
}

/** @param {string} guid */
function remove(guid) {
  view.clearError();
  const task = model.get(guid);
  if (task) void writer.remove(task);
}
