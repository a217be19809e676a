/**
 * The tutorial's client side: listens to the tasks and shows them.
 *
 * The page shows only what the server has sent: a change appears when its message arrives.
 */

// Django serves Pomona under static/pomona; see STATICFILES_DIRS.
import { Firenze } from "../pomona/firenze.js";

const path = document.body.dataset.path;
const list = document.querySelector("ul");
const template = document.querySelector("template");
const input = document.querySelector("#new-task");
const error = document.querySelector(".error");

/** What is known of each task, by its guid; of a deleted one, that it is. */
const known = new Map();

const firenze = new Firenze({
  connectUrl: "/tasks/connect/%@", // %@ is replaced with the client id
  disconnectUrl: "/tasks/disconnect/%@",
  user: document.body.dataset.user, // tabs share one poll, but not with those of another user of this browser
});

firenze.connect(path, (_path, message) => {
  if (message === "") load(); // connected: later changes will arrive, so load the state up to here
  else receive(JSON.parse(message)); // we sent a JSON-encoded message from Python
});
firenze.addEventListener("gap", load);
firenze.addEventListener("refused", ({ detail }) => complain(`This page may not listen to ${detail.path}.`));
firenze.addEventListener("state", ({ detail }) => {
  document.querySelector("[role=status]").textContent = detail.state;
});

async function load() {
  // Only these may be removed by the list: a message that arrives meanwhile may be newer than the list.
  const before = [...known.keys()];
  const answer = await ask("GET", "/tasks");
  if (!answer) return;
  const tasks = (await answer.json()).content;
  const guids = new Set(tasks.map((task) => task.guid));
  for (const guid of before) if (!guids.has(guid)) receive({ guid, DELETE: true });
  tasks.forEach(receive);
  document.querySelector(".empty").hidden = list.children.length > 0;
}

/** Take in news of a task, unless it is older than what is known; what was deleted stays so. */
function receive(task) {
  const before = known.get(task.guid);
  if (before?.DELETE || (!task.DELETE && before?.version >= task.version)) return;
  known.set(task.guid, task);
  show(task);
  document.querySelector(".empty").hidden = list.children.length > 0;
}

function show(task) {
  let item = document.getElementById(task.guid);
  if (task.DELETE) return item?.remove();
  if (!item) {
    item = template.content.cloneNode(true).firstElementChild;
    item.id = task.guid;
    item.querySelector("input").addEventListener("change", (event) => put(task.guid, { isDone: event.target.checked }));
    item.querySelector("button").addEventListener("click", () => ask("DELETE", task.guid));
    list.append(item);
  }
  item.querySelector("span").textContent = task.description;
  item.querySelector("input").checked = task.isDone;
  item.classList.toggle("done", task.isDone);
}

async function put(guid, change) {
  if (!(await ask("PUT", guid, change))) show(known.get(guid));
}

document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const description = input.value;
  const isAdded = await ask("POST", "/tasks", { description });
  // Unless the next one is being written: the task's message may have arrived before the answer.
  if (isAdded && input.value === description) input.value = "";
});

/** Ask Django, and return its answer, or null after saying what is wrong. */
async function ask(method, url, body) {
  error.hidden = true;
  try {
    const headers = { "Content-Type": "application/json", "X-CSRFToken": cookie("csrftoken") };
    const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    if (answer.ok) return answer;
    complain((await answer.json().catch(() => ({}))).detail ?? `The server answered ${answer.status}.`);
  } catch {
    complain("The server can't be reached.");
  }
  return null;
}

function complain(text) {
  error.textContent = text;
  error.hidden = false;
}

function cookie(name) {
  return document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? "";
}
