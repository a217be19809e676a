/**
 * The page's elements: shows tasks, state, errors and announcements, and tells what the user does.
 *
 * Knows nothing of the network. Rows are kept and updated in place, so that focus and a half-written edit survive
 * what others do.
 */

import { find, Row } from "./row.js";

/** @import { Task } from "./model.js" */
/** @import { RowListeners } from "./row.js" */

/** @type {Record<string, {label: string, title: string}>} */
const STATES = {
  connecting: { label: "Connecting…", title: "Asking the server for updates." },
  live: { label: "Live", title: "Changes made elsewhere appear here at once." },
  waiting: { label: "Reconnecting…", title: "The server can’t be reached; trying again in a moment." },
  offline: { label: "Offline", title: "No network. What you see may be out of date." },
  closed: { label: "Closed", title: "Updates have ended. Reload the page." },
};

export class View {
  #root;
  #listeners;
  /** @type {Map<string, Row>} */
  #rows = new Map();

  /**
   * @param {Document} root
   * @param {RowListeners & {onCreate: (description: string) => Promise<boolean>}} listeners `onCreate` resolves to
   *   whether that succeeded.
   */
  constructor(root, listeners) {
    this.#root = root;
    this.#listeners = listeners;
    this.#find("new-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#create();
    });
    this.#find("dismiss", HTMLButtonElement).addEventListener("click", () => {
      this.clearError();
      this.#find("new-task", HTMLInputElement).focus();
    });
  }

  /**
   * Show these tasks, in this order.
   *
   * @param {Task[]} tasks
   * @param {boolean} isLoaded Whether the list is known at all.
   */
  showTasks(tasks, isLoaded) {
    const list = this.#find("tasks", HTMLUListElement);
    this.#removeRows(new Set(tasks.map(({ guid }) => guid)));
    for (const [index, task] of tasks.entries()) {
      const { element } = this.#updateRow(task);
      // Moved only when out of place: moving an element takes the focus from it.
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    }
    list.ariaBusy = String(!isLoaded);
    this.#find("loading", HTMLElement).hidden = isLoaded || tasks.length > 0;
    this.#find("empty", HTMLElement).hidden = !isLoaded || tasks.length > 0;
    this.#showProgress(tasks);
  }

  /**
   * Draw the eye to tasks that someone else has changed.
   *
   * @param {string[]} guids
   */
  flash(guids) {
    for (const guid of guids) this.#rows.get(guid)?.flash();
  }

  /**
   * Return whether the user is writing in this task.
   *
   * @param {string} guid
   */
  isEditing(guid) {
    return this.#rows.get(guid)?.isEditing ?? false;
  }

  /** @param {string} guid */
  reveal(guid) {
    this.#rows.get(guid)?.element.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} state */
  showState(state) {
    const { label, title } = STATES[state] ?? { label: state, title: "" };
    const indicator = this.#find("state", HTMLElement);
    indicator.dataset.state = state;
    indicator.title = title;
    const text = indicator.querySelector("span");
    if (text) text.textContent = label;
  }

  /**
   * Show an error until it is dismissed or something succeeds.
   *
   * @param {string} message
   */
  showError(message) {
    const notice = this.#find("error", HTMLElement);
    notice.hidden = false;
    const text = notice.querySelector("p");
    if (text) text.textContent = message;
  }

  clearError() {
    this.#find("error", HTMLElement).hidden = true;
  }

  /**
   * Have a screen reader say something once it has nothing else to say.
   *
   * @param {string} sentence
   */
  announce(sentence) {
    this.#find("announcements", HTMLElement).textContent = sentence;
  }

  async #create() {
    const input = this.#find("new-task", HTMLInputElement);
    const description = input.value.trim();
    if (!description) return;
    input.value = "";
    input.focus();
    const isCreated = await this.#listeners.onCreate(description);
    // The words come back, unless the next ones are already being written.
    if (!isCreated && !input.value) input.value = description;
  }

  /** @param {Task} task */
  #updateRow(task) {
    let row = this.#rows.get(task.guid);
    if (row) {
      row.update(task);
    } else {
      const template = /** @type {HTMLTemplateElement} */ (this.#root.getElementById("task-template"));
      row = new Row(template, task, this.#listeners);
      this.#rows.set(task.guid, row);
    }
    return row;
  }

  /** @param {Set<string>} kept */
  #removeRows(kept) {
    for (const [guid, row] of this.#rows) {
      if (kept.has(guid)) continue;
      const heir = row.element.contains(this.#root.activeElement) ? this.#findHeir(row, kept) : null;
      this.#rows.delete(guid);
      row.element.remove();
      heir?.focus();
    }
  }

  /**
   * Return who gets the focus when a row with it goes: its neighbour, or the field for a new task.
   *
   * @param {Row} row
   * @param {Set<string>} kept
   * @returns {{focus: () => void}}
   */
  #findHeir(row, kept) {
    const siblings = [...(row.element.parentElement?.children ?? [])];
    const position = siblings.indexOf(row.element);
    const candidates = [...siblings.slice(position + 1), ...siblings.slice(0, position).reverse()];
    const guids = candidates.map((element) => element.getAttribute("data-guid") ?? "");
    const heir = this.#rows.get(guids.find((guid) => kept.has(guid)) ?? "");
    return heir ?? this.#find("new-task", HTMLInputElement);
  }

  /** @param {Task[]} tasks */
  #showProgress(tasks) {
    const done = tasks.filter(({ isDone }) => isDone).length;
    const progress = this.#find("progress", HTMLProgressElement);
    progress.max = Math.max(1, tasks.length);
    progress.value = done;
    this.#find("count", HTMLElement).textContent = tasks.length > 0 ? `${done} of ${tasks.length} done` : "";
  }

  /**
   * @template {Element} Kind
   * @param {string} testId
   * @param {new () => Kind} kind
   */
  #find(testId, kind) {
    return find(this.#root, testId, kind);
  }
}
