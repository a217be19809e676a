/**
 * Keeps a list of items equal to the server's: loads it, and applies updates.
 *
 * Promises: no change is missed between the list and the updates, because the list is loaded after each confirmation of
 * the path and after each gap. The newest version of an item wins, in whatever order versions arrive. An item whose
 * deletion was reported does not come back. An item that a list lacks is hidden, until a list or an update has it.
 */

import { Backoff } from "./backoff.js";
import { readPages } from "./pages.js";
import { Pause } from "./pause.js";

/** @import { Firenze } from "./core.js" */

/** How many deletions are remembered. A version that arrives after that many others is not expected. */
const MAX_DELETIONS = 10_000;

/**
 * @template Item
 * @typedef {object} FollowOptions
 * @property {(options: {signal: AbortSignal}) => unknown} snapshot Loads the whole list: an array of items, a Response
 *   with one as JSON, or either within `{content: […]}`; or a promise of these. A Response may be the first of several
 *   pages.
 * @property {(url: string, options: {signal: AbortSignal}) => Promise<Response>} [fetchNext] Loads the page that a
 *   `Link` with `rel="next"` names; by default `fetch` does.
 * @property {keyof Item | ((item: Item) => unknown)} key What identifies an item: a member, or a function.
 * @property {keyof Item | ((item: Item) => any)} version What grows with each change of an item: numbers, or texts that
 *   sort.
 * @property {(item: Item) => boolean} [isDeleted] Whether an update reports a deletion; by default `DELETE: true` does.
 * @property {boolean} [loadAtOnce] Load before the path is confirmed too, so that the page shows items without it.
 * @property {AbortSignal} [signal] Ends the list.
 */

/**
 * @template Item
 * @typedef {{kind: "added" | "changed" | "deleted", item: Item, previous: Item | null}} Change `item` of a deletion is
 *   the update that reported it, or the last known version.
 */

/**
 * @template Item
 * @typedef {object} FollowedEvents
 * @property {CustomEvent<{changes: Change<Item>[], origin: "snapshot" | "update"}>} change
 * @property {CustomEvent<null>} loaded The list was loaded, for the first time or again.
 * @property {CustomEvent<{error: unknown}>} error The list is cut, or a message was not an item, or the list
 *   could not be loaded. Loading is tried again.
 */

/**
 * A list that follows the server's.
 *
 * @template Item
 */
export class Followed extends EventTarget {
  /** The items by key, in the order of their arrival. Read only. @type {Map<unknown, Item>} */
  items = new Map();
  /** Whether the whole list has been loaded once. */
  isLoaded = false;
  /** Whether the last loaded list has a next page that was not followed. */
  isCut = false;
  /** Grows with each `change` and each `loaded`, for frameworks that check for changes. */
  revision = 0;
  #options;
  #keyOf;
  #versionOf;
  #backoff;
  #pause;
  #end = new AbortController();
  /** The version with which each was deleted. @type {Map<unknown, any>} */
  #deleted = new Map();
  /** The keys of updates since the list was requested. @type {Set<unknown> | null} */
  #received = null;
  #isLoading = false;
  #isStale = false;

  /**
   * @param {Firenze} firenze
   * @param {string} path
   * @param {FollowOptions<Item>} options
   */
  constructor(firenze, path, options) {
    super();
    const { runtime } = firenze;
    this.#options = {
      isDeleted: (/** @type {any} */ item) => item.DELETE === true,
      fetchNext: (/** @type {string} */ url, /** @type {RequestInit} */ init) => runtime.fetch(url, init),
      ...options,
    };
    this.#keyOf = createReader(options.key);
    this.#versionOf = createReader(options.version);
    this.#backoff = new Backoff(runtime.random, runtime.now);
    this.#pause = new Pause(runtime);
    const { signal } = this.#end;
    options.signal?.addEventListener("abort", () => this.close(), { signal });
    if (options.signal?.aborted) this.close();
    firenze.subscribe(path, (message) => this.#read(message), { signal, onConfirmed: () => this.reload() });
    firenze.addEventListener("gap", ({ detail }) => detail.path === path && this.reload(), { signal });
    firenze.addEventListener("state", ({ detail }) => detail.state === "live" && this.#pause.cutShort(), { signal });
    if (options.loadAtOnce) this.reload();
  }

  /** Load the list again, once a load under way has ended. */
  reload() {
    this.#isStale = true;
    if (!this.#isLoading) void this.#load();
  }

  /**
   * Apply a version of an item, such as the answer to one's own write. Return whether it was new.
   *
   * @param {Item} item
   */
  apply(item) {
    const change = this.#take(item);
    this.#emitChanges(change ? [change] : [], "update");
    return change !== null;
  }

  /** Stop following; the items stay as they are. */
  close() {
    this.#end.abort();
    this.#pause.end();
  }

  /**
   * Listen to an event, here with the types of FollowedEvents.
   *
   * @template {keyof FollowedEvents<Item>} Type
   * @param {Type} type
   * @param {((event: FollowedEvents<Item>[Type]) => void) | EventListenerObject | null} listener
   * @param {AddEventListenerOptions | boolean} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListenerOrEventListenerObject | null} */ (listener), options);
  }

  /** @param {string} message */
  #read(message) {
    /** @type {Item} */
    let item;
    try {
      item = JSON.parse(message);
      this.#keyOf(item);
    } catch (error) {
      return void this.#emit("error", { error });
    }
    this.apply(item);
  }

  async #load() {
    this.#isLoading = true;
    while (this.#isStale && !this.#end.signal.aborted) {
      this.#isStale = false;
      await this.#loadOnce();
    }
    this.#isLoading = false;
  }

  async #loadOnce() {
    const { signal } = this.#end;
    const { snapshot, fetchNext } = this.#options;
    this.#received = new Set();
    try {
      const { items, cut } = await readPages(await snapshot({ signal }), (url) => fetchNext(url, { signal }));
      if (signal.aborted) return;
      this.#backoff.reset();
      this.isCut = cut !== null;
      this.#takeAll(items, this.#received);
      if (cut) this.#emit("error", { error: cut });
    } catch (error) {
      if (signal.aborted) return;
      this.#isStale = true;
      this.#emit("error", { error });
      await this.#pause.wait(this.#backoff.next(), 0);
    } finally {
      this.#received = null;
    }
  }

  /**
   * Apply a list: hide the items that it lacks, unless the list is cut or an update brought them since the request.
   *
   * Hiding is not remembered like a deletion: the list may be an older one, or the item may return.
   *
   * @param {Item[]} items
   * @param {Set<unknown>} updated
   */
  #takeAll(items, updated) {
    const listed = new Set(items.map(this.#keyOf));
    const gone = [...this.items].filter(([key]) => !this.isCut && !listed.has(key) && !updated.has(key));
    const changes = [...gone.map(([key, item]) => this.#remove(key, item)), ...items.map((item) => this.#put(item))];
    this.isLoaded = true;
    this.#emitChanges(
      changes.filter((change) => change !== null),
      "snapshot",
    );
    this.revision += 1;
    this.#emit("loaded", null);
  }

  /** @param {Item} item */
  #take(item) {
    this.#received?.add(this.#keyOf(item));
    return this.#options.isDeleted(item) ? this.#delete(item) : this.#put(item);
  }

  /**
   * @param {Item} item
   * @returns {Change<Item> | null}
   */
  #put(item) {
    const key = this.#keyOf(item);
    const version = this.#versionOf(item);
    const previous = this.items.get(key);
    if (previous && !(version > this.#versionOf(previous))) return null;
    if (this.#deleted.has(key) && !(version > this.#deleted.get(key))) return null;
    this.#deleted.delete(key);
    this.items.set(key, item);
    return previous ? { kind: "changed", item, previous } : { kind: "added", item, previous: null };
  }

  /**
   * @param {Item} item
   * @returns {Change<Item> | null}
   */
  #delete(item) {
    const key = this.#keyOf(item);
    const previous = this.items.get(key);
    const version = this.#versionOf(item) ?? (previous && this.#versionOf(previous));
    if (previous && this.#versionOf(previous) > version) return null;
    // Without a version a later one can't be compared.
    if (version !== undefined) this.#deleted.set(key, version);
    if (this.#deleted.size > MAX_DELETIONS) this.#deleted.delete(this.#deleted.keys().next().value);
    return this.#remove(key, item);
  }

  /**
   * @param {unknown} key
   * @param {Item} item The version that reports it.
   * @returns {Change<Item> | null}
   */
  #remove(key, item) {
    const previous = this.items.get(key);
    this.items.delete(key);
    return previous ? { kind: "deleted", item, previous } : null;
  }

  /**
   * @param {Change<Item>[]} changes
   * @param {"snapshot" | "update"} origin
   */
  #emitChanges(changes, origin) {
    if (changes.length === 0) return;
    this.revision += 1;
    this.#emit("change", { changes, origin });
  }

  /**
   * @param {keyof FollowedEvents<Item>} type
   * @param {unknown} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Return a function that reads a member by its name or by a function. Errors: TypeError without a key or a version.
 *
 * @template Item
 * @param {keyof Item | ((item: Item) => unknown)} reader
 * @returns {(item: Item) => any}
 */
function createReader(reader) {
  if (reader === undefined) throw new TypeError("follow needs a key and a version");
  return typeof reader === "function" ? reader : (item) => item[reader];
}
