/**
 * The page's elements: shows tasks, state, errors and announcements, and reports the user's actions.
 *
 * Does not use the network. Rows are updated in place, so that the focus and an unfinished edit survive others'
 * changes.
 */

import { readDescription } from "./description.js";
import { Mover } from "./mover.js";
import { Notices } from "./notices.js";
import { find, setText } from "./page.js";
import { Row } from "./row.js";
import { describeState } from "./state.js";

/** @import { ShownTask } from "./operations.js" */
/** @import { RowListeners } from "./row.js" */

/**
 * @typedef {"all" | "active" | "done"} Filter
 * @typedef {RowListeners & { onCreate: (description: string) => void, onMove: (guid: string, before: string | null) =>
 *   void, onUndo: () => void, }} ViewListeners
 */

/** @type {Record<Filter, {keeps: (task: ShownTask) => boolean, empty: string, hint: string}>} */
const FILTERS = {
  all: {
    keeps: () => true,
    empty: "All clear.",
    hint: "Add the first task above. Everyone who has this page open sees it at once.",
  },
  active: { keeps: ({ isDone }) => !isDone, empty: "Nothing left to do.", hint: "What is done is under Done." },
  done: { keeps: ({ isDone }) => isDone, empty: "Nothing done yet.", hint: "Tick a task, and it is listed here." },
};

export class View {
  notices;
  #root;
  #listeners;
  #mover;
  /** @type {Map<string, Row>} */
  #rows = new Map();

  /**
   * @param {Document} root
   * @param {ViewListeners} listeners
   */
  constructor(root, listeners) {
    this.#root = root;
    this.#listeners = listeners;
    this.#mover = new Mover(this.#find("tasks", HTMLUListElement), listeners.onMove);
    this.#find("new-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#create();
    });
    const focusNew = () => this.#find("new-task", HTMLInputElement).focus();
    this.notices = new Notices(root, { onUndo: listeners.onUndo, onClosed: focusNew });
  }

  /**
   * Show the tasks that the filter keeps, in this order.
   *
   * @param {ShownTask[]} tasks
   * @param {Filter} filter
   * @param {boolean} isLoaded Whether the list was loaded.
   * @param {number} waiting How many tasks have a change that the server has not answered; deleted ones are not in
   *   `tasks`.
   */
  showTasks(tasks, filter, isLoaded, waiting) {
    const { keeps, empty, hint } = FILTERS[filter];
    // A task that is being edited stays until the edit ends.
    const shown = tasks.filter((task) => keeps(task) || this.isEditing(task.guid));
    const list = this.#find("tasks", HTMLUListElement);
    this.#removeRows(new Set(shown.map(({ guid }) => guid)));
    for (const [index, task] of shown.entries()) {
      const { element } = this.#updateRow(task);
      // Moved only when out of place: moving an element takes the focus from it.
      const isPlaced = list.children[index] === element || (this.#mover.isMoving && element.parentElement === list);
      if (!isPlaced) list.insertBefore(element, list.children[index] ?? null);
    }
    list.ariaBusy = String(!isLoaded);
    this.#find("loading", HTMLElement).hidden = isLoaded || shown.length > 0;
    this.#find("empty", HTMLElement).hidden = !isLoaded || shown.length > 0;
    this.#setText("empty-title", empty);
    this.#setText("empty-hint", hint);
    this.#showFilter(filter);
    this.#showProgress(tasks);
    this.#setText("unsent", waiting > 0 ? `${waiting} not sent yet` : "");
  }

  /**
   * Replace the guid of a task; its row stays, with focus and edit.
   *
   * @param {string} guid
   * @param {string} newGuid
   */
  rename(guid, newGuid) {
    const row = this.#rows.get(guid);
    if (!row || this.#rows.has(newGuid)) return;
    this.#rows.delete(guid);
    this.#rows.set(newGuid, row);
  }

  /**
   * Highlight tasks that another user has changed.
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
    describeState(this.#find("state", HTMLElement), state);
  }

  /**
   * Put the text of a task that could not be added back into its field, unless the user is writing the next one.
   *
   * @param {string} description
   */
  giveBack(description) {
    const input = this.#find("new-task", HTMLInputElement);
    if (!input.value) input.value = description;
  }

  /**
   * Have a screen reader say something once it has finished.
   *
   * @param {string} sentence
   */
  announce(sentence) {
    this.#setText("announcements", sentence);
  }

  #create() {
    const input = this.#find("new-task", HTMLInputElement);
    const description = readDescription(input.value);
    input.focus();
    // Invisible characters are removed too: the field would look empty, but would not be.
    input.value = "";
    if (description) this.#listeners.onCreate(description);
  }

  /** @param {ShownTask} task */
  #updateRow(task) {
    let row = this.#rows.get(task.guid);
    if (row) {
      row.update(task);
    } else {
      const template = /** @type {HTMLTemplateElement} */ (this.#root.getElementById("task-template"));
      row = new Row(template, task, this.#listeners);
      this.#mover.watch(row);
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
      // An unfinished edit of a task that another user has deleted is not lost: it becomes a conflict.
      row.save();
    }
  }

  /**
   * Return what gets the focus when a focused row is removed: its neighbour, or the field for a new task.
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

  /** @param {Filter} filter */
  #showFilter(filter) {
    for (const link of this.#find("filters", HTMLElement).querySelectorAll("a")) {
      link.ariaCurrent = link.hash === `#${filter}` ? "true" : null;
    }
  }

  /** @param {ShownTask[]} tasks */
  #showProgress(tasks) {
    const done = tasks.filter(({ isDone }) => isDone).length;
    const progress = this.#find("progress", HTMLProgressElement);
    progress.max = Math.max(1, tasks.length);
    progress.value = done;
    this.#setText("count", tasks.length > 0 ? `${done} of ${tasks.length} done` : "");
  }

  /**
   * @param {string} testId
   * @param {string} text
   */
  #setText(testId, text) {
    setText(this.#root, testId, text);
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
