/**
 * Replaces Web Locks on pages that came over plain HTTP: tabs agree through a BroadcastChannel.
 *
 * Owns the locks that this tab holds and waits for. Promises: the tab that waits longest is next, at once when a lock
 * is given back, and within seconds when its holder has crashed. Two tabs may hold one lock when one of them did not
 * answer in time; one loses it at the next message. A steal always succeeds.
 * Source: README.md, Tabs.
 */

/** @import { Runtime } from "./runtime.js" */

/** How often a waiting tab asks. Hidden tabs get messages at once, but their timers may be late. */
const TICK_MS = 4_000;
/** How long it waits for the answer: at first, after a release, and when it was answered before. */
const FIRST_MS = 300;
const FREED_MS = 50;
const ANSWER_MS = 1_000;
/** After this many unanswered questions in a row there is no holder. A busy tab may miss one. */
const MAX_UNANSWERED = 2;

/**
 * @typedef {{turn: number, since: number, tab: string}} Rank The later turn comes first, then the earlier `since`.
 * @typedef {Rank & {kind: "ask" | "held" | "waits" | "free", lock: string}} Message `held` and `waits` answer `ask`.
 * @typedef {Rank & {lock: string, isHeld: boolean, unanswered: number, timer: unknown, callback: (lock: null) =>
 *   unknown, resolve: (value: any) => void, reject: (error: DOMException) => void}} Wish
 */

/**
 * The part of a LockManager that tabs need.
 *
 * @typedef {object} Locks
 * @property {(lock: string, options: {signal?: AbortSignal, steal?: boolean, ifAvailable?: boolean},
 *   callback: (lock: any) => unknown) => Promise<any>} request
 */

/** @implements {Locks} */
export class ChannelLocks {
  #runtime;
  #createChannel;
  #tab;
  /** @type {Set<Wish>} */
  #wishes = new Set();
  /** How often each lock has changed its holder, as far as this tab knows. @type {Map<string, number>} */
  #turns = new Map();
  /** Open while there are wishes. @type {BroadcastChannel | null} */
  #channel = null;

  /**
   * @param {Runtime} runtime
   * @param {() => BroadcastChannel} createChannel Connects to the tabs that may want the same locks.
   * @param {string} tab Identifies this tab.
   */
  constructor(runtime, createChannel, tab) {
    this.#runtime = runtime;
    this.#createChannel = createChannel;
    this.#tab = tab;
  }

  /**
   * Call `callback` once the lock is held, and hold it until its result is settled, as
   * `LockManager.request` does.
   *
   * Errors: an AbortError when the signal ends the wait, or when another tab has taken the lock.
   *
   * @param {string} lock
   * @param {{signal?: AbortSignal, steal?: boolean, ifAvailable?: boolean}} options With `ifAvailable`, the caller
   *   knows that the lock is free.
   * @param {(lock: null) => unknown} callback
   * @returns {Promise<any>}
   */
  request(lock, { signal, steal, ifAvailable }, callback) {
    return new Promise((resolve, reject) => {
      const rank = { turn: 0, since: this.#runtime.now(), tab: this.#tab };
      const state = { isHeld: false, unanswered: 0, timer: null };
      /** @type {Wish} */
      const wish = { lock, ...rank, ...state, callback, resolve, reject };
      signal?.addEventListener("abort", () => !wish.isHeld && this.#drop(wish));
      this.#wishes.add(wish);
      if (!this.#channel) {
        this.#channel = this.#createChannel();
        this.#channel.onmessage = ({ data }) => this.#receive(data);
      }
      if (steal || ifAvailable) void this.#take(wish);
      else this.#ask(wish, FIRST_MS);
    });
  }

  /** @param {Wish} wish @param {number} patienceMs */
  #ask(wish, patienceMs) {
    wish.unanswered += 1;
    this.#post("ask", wish);
    this.#await(wish, patienceMs);
  }

  /** @param {Wish} wish @param {number} milliseconds @param {number} [patienceMs] The wait after the next question. */
  #await(wish, milliseconds, patienceMs = milliseconds) {
    this.#runtime.clearTimeout(wish.timer);
    wish.timer = this.#runtime.setTimeout(() => {
      if (wish.unanswered >= MAX_UNANSWERED) void this.#take(wish);
      else this.#ask(wish, patienceMs);
    }, milliseconds);
  }

  /** @param {Wish} wish */
  async #take(wish) {
    const { lock, callback, resolve, reject } = wish;
    wish.isHeld = true;
    wish.turn = (this.#turns.get(lock) ?? 0) + 1;
    wish.since = this.#runtime.now();
    this.#turns.set(lock, wish.turn);
    this.#post("held", wish);
    try {
      resolve(await callback(null));
    } catch (error) {
      reject(/** @type {DOMException} */ (error));
    }
    this.#forget(wish, true);
  }

  /** @param {Wish} wish */
  #drop(wish) {
    this.#forget(wish, false);
    wish.reject(new DOMException("The lock was taken, or is not wanted any more.", "AbortError"));
  }

  /** @param {Wish} wish @param {boolean} isFree */
  #forget(wish, isFree) {
    this.#runtime.clearTimeout(wish.timer);
    if (!this.#wishes.delete(wish)) return;
    if (isFree) this.#post("free", wish);
    if (this.#wishes.size > 0) return;
    this.#channel?.close();
    this.#channel = null;
  }

  /** @param {Message["kind"]} kind @param {Wish} wish */
  #post(kind, { lock, turn, since, tab }) {
    this.#channel?.postMessage({ kind, lock, turn, since, tab });
  }

  /** @param {Message} message */
  #receive(message) {
    const { kind, lock } = message;
    this.#turns.set(lock, Math.max(this.#turns.get(lock) ?? 0, message.turn));
    for (const wish of [...this.#wishes].filter((other) => other.lock === lock)) {
      const isBehind = compare(message, wish) < 0;
      if (wish.isHeld) {
        if (kind === "held" && isBehind) this.#drop(wish);
        else if (kind === "held" || kind === "ask") this.#post("held", wish);
      } else if (kind === "free") {
        // One more question, to tabs that have waited longer.
        wish.unanswered = MAX_UNANSWERED - 1;
        this.#ask(wish, FREED_MS);
      } else if (kind === "held" || (kind === "waits" && isBehind)) {
        wish.unanswered = 0;
        this.#await(wish, TICK_MS, ANSWER_MS);
      } else if (kind === "ask" && !isBehind) this.#post("waits", wish);
    }
  }
}

/**
 * Return less than 0 when `one` comes before `other`.
 *
 * @param {Rank} one
 * @param {Rank} other
 */
function compare(one, other) {
  return other.turn - one.turn || one.since - other.since || (one.tab < other.tab ? -1 : 1);
}
