/**
 * Stores the waiting operations in IndexedDB, where they outlive the page and all tabs of the browser share them.
 */

/** @import { Operation } from "./operations.js" */

/** For users who are not signed in; a signed-in user's database ends with the user's name. */
const DATABASE = "todos";
const TABLE = "outbox";
const KEY = "operations";

/**
 * @typedef {object} Store
 * @property {() => Promise<Operation[]>} read
 * @property {(change: (operations: Operation[]) => Operation[]) => Promise<Operation[]>} update Replaces
 *   the operations by the result of `change`, in one step for all tabs, and returns it.
 */

/**
 * Return the browser's store of one user. Some private windows have none: then the store lasts as long as the page.
 *
 * @param {string} suffix The end of this user's own names.
 * @returns {Promise<Store>}
 */
export async function openStore(suffix) {
  try {
    const opening = indexedDB.open(DATABASE + suffix, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE);
    return new DatabaseStore(await result(opening));
  } catch {
    return new MemoryStore();
  }
}

/** @implements {Store} */
class DatabaseStore {
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
  }

  async read() {
    return readAll(this.#database.transaction(TABLE).objectStore(TABLE));
  }

  /** @param {(operations: Operation[]) => Operation[]} change */
  async update(change) {
    const transaction = this.#database.transaction(TABLE, "readwrite");
    const table = transaction.objectStore(TABLE);
    const changed = change(await readAll(table));
    table.put(changed, KEY);
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    return changed;
  }
}

/** @implements {Store} */
export class MemoryStore {
  /** @type {Operation[]} */
  #operations = [];

  async read() {
    return this.#operations;
  }

  /** @param {(operations: Operation[]) => Operation[]} change */
  async update(change) {
    this.#operations = change(this.#operations);
    return this.#operations;
  }
}

/**
 * @param {IDBObjectStore} table
 * @returns {Promise<Operation[]>}
 */
async function readAll(table) {
  return (await result(table.get(KEY))) ?? [];
}

/**
 * @template Result
 * @param {IDBRequest<Result>} request
 * @returns {Promise<Result>}
 */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
