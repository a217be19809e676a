/**
 * Keeps the operations that wait: in IndexedDB, where they outlive the page and all tabs of the browser share them.
 */

/** @import { Operation } from "./operations.js" */

/** Of who is not signed in; each user's own has their name at its end. */
const DATABASE = "todos";
const TABLE = "outbox";
const KEY = "operations";

/**
 * @typedef {object} Store
 * @property {() => Promise<Operation[]>} read
 * @property {(change: (operations: Operation[]) => Operation[]) => Promise<Operation[]>} update Replaces the operations by
 *   what `change` makes of them, in one step for all tabs; returns that.
 */

/**
 * Return the browser's store of one user, or one that lives as long as the page where there is none (some private windows).
 *
 * @param {string} suffix Of the names of what is this user's own.
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
