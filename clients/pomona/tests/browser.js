/**
 * A browser for tests: tabs with locks and channels of their own world, which can be frozen, crash and miss messages.
 *
 * Everything that reaches a tab goes through its gate, so that a frozen tab runs nothing and keeps what comes for later.
 */

import { createFirenze, settle, World } from "./world.js";

/** @typedef {import("../src/firenze.js").Firenze} Client */

export class Tab {
  /** @type {Client} */
  firenze;
  /** Ask the world for something, as the page. @type {(url: string, init?: RequestInit) => Promise<Response>} */
  fetch;
  /** Messages from other tabs do not arrive. */
  isDeaf = false;
  page = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
    navigator: { onLine: true },
  };
  /** Ends with the tab. */
  life = new AbortController();
  /** What is to be done once it is thawed; null while it runs. @type {(() => void)[] | null} */
  #pending = null;

  /**
   * @param {Browser} browser
   * @param {object} options
   */
  constructor(browser, options) {
    const { world } = browser;
    const runtime = world.runtime();
    this.fetch = (url, init = {}) => this.#fetch(runtime, url, init);
    this.firenze = createFirenze({
      runtime: {
        ...runtime,
        page: this.page,
        fetch: this.fetch,
        setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ milliseconds) => {
          const timer = { isDue: true, id: /** @type {unknown} */ (null) };
          timer.id = runtime.setTimeout?.(() => this.run(() => timer.isDue && callback()), milliseconds);
          return timer;
        },
        clearTimeout: (/** @type {{isDue: boolean, id: unknown} | null} */ timer) => {
          if (!timer) return;
          timer.isDue = false;
          runtime.clearTimeout?.(timer.id);
        },
        sharing: {
          locks: browser.hasLocks ? browser.locks.of(this) : null,
          createChannel: (/** @type {string} */ name) => browser.createChannel(this, name),
          createId: () => `tab${(browser.ids += 1)}`,
          digest: async (/** @type {string} */ text) => text,
        },
      },
      ...options,
    });
  }

  /** @param {() => void} callback */
  run(callback) {
    if (this.life.signal.aborted) return;
    if (this.#pending) this.#pending.push(callback);
    else callback();
  }

  /** Stop it dead, as a debugger does. */
  freeze() {
    this.#pending ??= [];
  }

  thaw() {
    const pending = this.#pending ?? [];
    this.#pending = null;
    for (const callback of pending) this.run(callback);
    return settle();
  }

  /** End it without a word. */
  async crash() {
    this.life.abort();
    await settle();
  }

  /** Put it into the back/forward cache, with the notice that a page gets. */
  async hide() {
    this.page.window.dispatchEvent(new Event("pagehide"));
    await settle();
  }

  async show() {
    this.page.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    await settle();
  }

  /** Tell it that the user looks at it. */
  look() {
    this.page.document.dispatchEvent(new Event("visibilitychange"));
    return settle();
  }

  /**
   * @param {Partial<import("../src/runtime.js").Runtime>} runtime
   * @param {string} url
   * @param {RequestInit} init
   * @returns {Promise<Response>}
   */
  #fetch(runtime, url, init) {
    const signal = AbortSignal.any([this.life.signal, ...(init.signal ? [init.signal] : [])]);
    return new Promise((resolve, reject) => {
      runtime.fetch?.(url, { ...init, signal }).then(
        (response) => this.run(() => resolve(response)),
        (error) => this.run(() => reject(error)),
      );
    });
  }
}

/** @typedef {{tab: Tab, callback: (lock: unknown) => unknown, resolve: (value: unknown) => void, reject: (error: unknown) => void}} Wish */

/** Web Locks, as far as Pomona uses them. */
class Locks {
  /** Whether the browser forbids them here. */
  areForbidden = false;
  /** Who holds a lock, and then who waits for it. @type {Map<string, Wish[]>} */
  #queues = new Map();
  /** @type {WeakSet<Wish>} */
  #granted = new WeakSet();

  /**
   * @param {Tab} tab
   * @returns {any}
   */
  of(tab) {
    return {
      query: async () => {
        if (this.areForbidden) throw new DOMException("no", "SecurityError");
      },
      request: (/** @type {string} */ name, /** @type {any} */ options, /** @type {any} */ callback) =>
        typeof options === "function" ? this.#request(tab, name, {}, options) : this.#request(tab, name, options, callback),
    };
  }

  /**
   * @param {Tab} tab
   * @param {string} name
   * @param {{signal?: AbortSignal, steal?: boolean}} options
   * @param {Wish["callback"]} callback
   */
  #request(tab, name, { signal, steal }, callback) {
    return new Promise((resolve, reject) => {
      const wish = { tab, callback, resolve, reject };
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const holder = steal && queue[0] && this.#granted.has(queue[0]) ? queue.shift() : null;
      holder?.tab.run(() => holder.reject(new DOMException("stolen", "AbortError")));
      if (steal) queue.unshift(wish);
      else queue.push(wish);
      const giveUp = () => {
        if (!this.#granted.has(wish)) this.#drop(name, wish, () => reject(new DOMException("given up", "AbortError")));
      };
      signal?.addEventListener("abort", giveUp);
      tab.life.signal.addEventListener("abort", () => this.#drop(name, wish, () => {}));
      this.#grant(name);
    });
  }

  /** @param {string} name */
  #grant(name) {
    const wish = this.#queues.get(name)?.[0];
    if (!wish || this.#granted.has(wish)) return;
    this.#granted.add(wish);
    const grant = async () => {
      const value = await wish.callback({});
      this.#drop(name, wish, () => wish.resolve(value));
    };
    queueMicrotask(() => wish.tab.run(grant));
  }

  /**
   * @param {string} name
   * @param {Wish} wish
   * @param {() => void} finish
   */
  #drop(name, wish, finish) {
    const queue = this.#queues.get(name) ?? [];
    if (!queue.includes(wish)) return;
    queue.splice(queue.indexOf(wish), 1);
    finish();
    this.#grant(name);
  }
}

export class Browser {
  world = new World();
  /** Whether pages have Web Locks; those that came over plain http have not. */
  hasLocks;
  locks = new Locks();
  /** How many names for tabs were given. */
  ids = 0;
  /** How many messages tabs have sent. */
  messages = 0;
  /** @type {Tab[]} */
  tabs = [];
  /** @type {Set<{tab: Tab, name: string, onmessage: ((event: {data: unknown}) => void) | null}>} */
  #channels = new Set();

  /** @param {{hasLocks?: boolean}} [options] */
  constructor({ hasLocks = true } = {}) {
    this.hasLocks = hasLocks;
  }

  /**
   * Open a tab, and let it find the others.
   *
   * @param {object} [options]
   */
  async open(options = {}) {
    const tab = new Tab(this, options);
    this.tabs.push(tab);
    await settle();
    return tab;
  }

  /**
   * @param {Tab} tab
   * @param {string} name
   * @returns {any}
   */
  createChannel(tab, name) {
    const channel = {
      tab,
      name,
      onmessage: null,
      postMessage: (/** @type {unknown} */ message) => {
        this.messages += 1;
        const data = structuredClone(message);
        for (const other of this.#channels) {
          if (other.name !== name || other === channel || other.tab.isDeaf) continue;
          queueMicrotask(() => other.tab.run(() => this.#channels.has(other) && other.onmessage?.({ data })));
        }
      },
      close: () => this.#channels.delete(channel),
    };
    this.#channels.add(channel);
    return channel;
  }

  /** Return the polls that are held now. */
  polls() {
    return this.world.open.filter(({ url }) => url.startsWith("/comet/"));
  }
}
