/** The page that shows polls: it listens like the todo page, and draws the polls that Pomona reports. */

import { Firenze } from "/todos/pomona/firenze.js";

import { Api, createKey } from "./api.js";
import { readCursor } from "./cursor.js";
import { find, setText as setTextOf } from "./page.js";
import { describeState } from "./state.js";
import { DELAY_BOUNDS_MS, PollLog } from "./poll_log.js";

/** @import { Entry, Result } from "./poll_log.js" */

const DRAW_EVERY_MS = 500;
const MAX_ROWS = 50;
/** How much of a uid is shown: with a whole uid another client receives what this browser receives. */
const SHOWN_UID = 4;

/** @type {Record<Result, string>} */
const RESULTS = { news: "messages", quiet: "no messages", cut: "cut short", failed: "failed" };

const firenze = new Firenze({ connectUrl: "/tasks/connect/%@", disconnectUrl: "/tasks/disconnect/%@" });
const api = new Api((url, init) => fetch(url, init));
const pollLog = new PollLog(Date.now());

firenze.addEventListener("poll", ({ detail }) => {
  pollLog.addPoll(detail);
  const [entry] = pollLog.polls.slice(-1);
  if (entry) addPollRow(entry);
  setText("leader", detail.by === "tab" ? "This tab" : "Another tab");
  showCursor(detail.cursor);
  draw();
});
firenze.addEventListener("state", ({ detail }) => {
  describeState(find(document, "state", HTMLElement), detail.state);
  const isPolling = ["connecting", "live", "unconnected"].includes(detail.state);
  pollLog.openSince = isPolling ? (pollLog.openSince ?? Date.now()) : null;
  addMessage("state", `${detail.previous} → ${detail.state}`);
});
firenze.addEventListener("gap", ({ detail }) => {
  pollLog.gaps += 1;
  setText("gaps", String(pollLog.gaps));
  addMessage("gap", `${detail.path}: ${detail.reason}`);
});
for (const type of /** @type {const} */ (["refused", "unconnected"])) {
  firenze.addEventListener(type, ({ detail }) => addMessage(type, `${detail.path}: ${detail.reason}`));
}
firenze.addEventListener("reset", () => addMessage("reset", "the server gave this browser a new uid"));
firenze.connect("tasks", takeMessage);

find(document, "try", HTMLButtonElement).addEventListener("click", () => void makeChange());
find(document, "delays", HTMLOListElement).append(...pollLog.delays.map((_, index) => createDelay(index)));
setInterval(draw, DRAW_EVERY_MS);
draw();

/**
 * @param {string} path
 * @param {string} message
 */
function takeMessage(path, message) {
  addMessage(path, message === "" ? '"" (the path is confirmed)' : message);
  const committedAt = message === "" ? NaN : Date.parse(JSON.parse(message).updatedAt);
  if (!Number.isNaN(committedAt)) pollLog.addDelay(Date.now() - committedAt);
  drawDelays();
}

/** Make a change, so that a poll has something to bring. */
async function makeChange() {
  const button = find(document, "try", HTMLButtonElement);
  button.disabled = true;
  try {
    const task = await api.create({ description: "Seen by a poll" }, createKey());
    await api.remove(task);
  } catch (error) {
    addMessage("failed", error instanceof Error ? error.message : "");
  } finally {
    button.disabled = false;
    button.focus();
  }
}

function draw() {
  const now = Date.now();
  setText("held", pollLog.openSince === null ? "–" : `${Math.max(0, Math.round((now - pollLog.openSince) / 1_000))} s`);
  const line = find(document, "line", HTMLElement);
  const bars = pollLog.bars(now);
  while (line.children.length < bars.length) line.append(document.createElement("i"));
  while (line.children.length > bars.length) line.lastElementChild?.remove();
  for (const [index, { start, length, result }] of bars.entries()) {
    const bar = /** @type {HTMLElement} */ (line.children[index]);
    bar.className = `is-${result}`;
    bar.style.left = `${start * 100}%`;
    bar.style.width = `${length * 100}%`;
  }
}

function drawDelays() {
  const most = Math.max(1, ...pollLog.delays);
  for (const [index, row] of [...find(document, "delays", HTMLOListElement).children].entries()) {
    const count = pollLog.delays[index] ?? 0;
    const [bar, number] = [row.querySelector("i"), row.querySelector("b")];
    if (bar) bar.style.width = `${(100 * count) / most}%`;
    if (number) number.textContent = String(count);
  }
}

/** @param {number} index */
function createDelay(index) {
  const row = copyOf("delay-template");
  const bound = DELAY_BOUNDS_MS[index];
  const [label, , number] = row.children;
  if (label) label.textContent = bound === undefined ? `over ${DELAY_BOUNDS_MS.at(-1)} ms` : `to ${bound} ms`;
  if (number) number.textContent = "0";
  return row;
}

/** @param {string} cursor */
function showCursor(cursor) {
  const place = readCursor(cursor);
  if (!place) return;
  const [epoch = "", sequence = "", grants = ""] = cursor.split(".");
  setText("uid", `${(firenze.getDoloresId() ?? "").slice(0, SHOWN_UID)}…`);
  setText("epoch", epoch);
  setText("epoch-words", place.createdAt.toLocaleString());
  setText("place", sequence);
  setText("place-words", `number ${place.sequence}`);
  setText("grants", grants);
  setText("grants-words", `number ${parseInt(grants, 36)}`);
  setText("sequence", `Message ${place.sequence}`);
}

/** @param {Entry} entry */
function addPollRow({ poll, result, heldMs }) {
  const place = readCursor(poll.cursor);
  const row = copyOf("poll-template");
  const [ended, held, outcome, updates, from] = row.children;
  if (!ended || !held || !outcome || !updates || !from) return;
  ended.textContent = new Date(poll.endedAt).toLocaleTimeString();
  held.textContent = heldMs < 1_000 ? `${Math.round(heldMs)} ms` : `${(heldMs / 1_000).toFixed(1)} s`;
  outcome.querySelector("i")?.classList.add(`is-${result}`);
  const words = outcome.querySelector("span");
  if (words) words.textContent = result === "failed" && poll.status ? `${RESULTS[result]}, ${poll.status}` : RESULTS[result];
  updates.textContent = String(poll.updates);
  from.textContent = place ? `message ${place.sequence}, grants ${place.grants}` : "nothing: a first poll";
  prepend(find(document, "polls", HTMLTableSectionElement), row);
  find(document, "no-polls", HTMLElement).hidden = true;
}

/**
 * @param {string} what
 * @param {string} text
 */
function addMessage(what, text) {
  const row = copyOf("message-template");
  const [time, name, words] = row.children;
  if (time) time.textContent = new Date().toLocaleTimeString();
  if (name) name.textContent = what;
  if (words) words.textContent = text;
  prepend(find(document, "messages", HTMLOListElement), row);
  find(document, "no-messages", HTMLElement).hidden = true;
}

/**
 * @param {Element} list
 * @param {Element} row
 */
function prepend(list, row) {
  list.prepend(row);
  if (list.children.length > MAX_ROWS) list.lastElementChild?.remove();
}

/**
 * @param {string} id
 * @returns {Element}
 */
function copyOf(id) {
  const template = document.getElementById(id);
  const element = template instanceof HTMLTemplateElement ? template.content.firstElementChild : null;
  if (!element) throw new Error(`The page lacks ${id}`);
  return /** @type {Element} */ (element.cloneNode(true));
}

/**
 * @param {string} testId
 * @param {string} text
 */
function setText(testId, text) {
  setTextOf(document, testId, text);
}
