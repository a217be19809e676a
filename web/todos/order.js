/**
 * Stores the order in which this browser shows the tasks: that of their creation, until the user moves one.
 *
 * It is stored in the browser, because each user has an own order and the task API is the same for all clients.
 */

import { isNew } from "./operations.js";

/** @import { Task } from "./operations.js" */

/** For users who are not signed in; a signed-in user's key ends with the user's name. */
const KEY = "todos-order";

export class Order {
  #storage;
  #key;
  /** The order after the last move, [] before the first. @type {string[]} */
  #guids = [];

  /**
   * @param {Pick<Storage, "getItem" | "setItem"> | null} storage Null where the browser has none.
   * @param {string} [suffix] The end of this user's own names.
   */
  constructor(storage, suffix = "") {
    this.#storage = storage;
    this.#key = KEY + suffix;
    this.load();
  }

  /** Read the order again: another tab may have changed it. */
  load() {
    try {
      const guids = JSON.parse(this.#storage?.getItem(this.#key) ?? "[]");
      this.#guids = Array.isArray(guids) ? guids.map(String) : [];
    } catch {
      this.#guids = [];
    }
  }

  /**
   * Return the tasks in their order; those that were created after the last move come last.
   *
   * @template {Task} Kind
   * @param {Kind[]} tasks
   */
  sort(tasks) {
    const places = new Map(this.#guids.map((guid, place) => [guid, place]));
    const placeOf = (/** @type {Kind} */ { guid }) => places.get(guid) ?? Infinity;
    return [...tasks].sort((a, b) => compare(placeOf(a), placeOf(b)) || compare(taskNumber(a), taskNumber(b)));
  }

  /**
   * Put a task before another one.
   *
   * @param {string} guid
   * @param {string | null} before Null puts it last.
   * @param {string[]} guids All tasks, in their order.
   */
  place(guid, before, guids) {
    const others = guids.filter((other) => other !== guid);
    const index = before === null ? -1 : others.indexOf(before);
    this.#save(others.toSpliced(index < 0 ? others.length : index, 0, guid));
  }

  /**
   * Replace the guid of a task that got another one.
   *
   * @param {string} guid
   * @param {string} newGuid
   */
  rename(guid, newGuid) {
    if (this.#guids.includes(guid)) this.#save(this.#guids.map((other) => (other === guid ? newGuid : other)));
  }

  /** @param {string[]} guids */
  #save(guids) {
    this.#guids = guids;
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(guids));
    } catch {
      // The storage is full or forbidden: the order lasts as long as the page.
    }
  }
}

/**
 * @param {number} a
 * @param {number} b
 */
function compare(a, b) {
  return a === b ? 0 : a - b;
}

/** A task that the server does not know yet comes last. @param {Task} task */
function taskNumber({ guid }) {
  return isNew(guid) ? Infinity : Number(guid.slice(guid.lastIndexOf("/") + 1));
}
