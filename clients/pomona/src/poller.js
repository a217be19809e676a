/**
 * Runs the poll loop: there is always one request under way, or a pause with a reason.
 *
 * Owns the cursor. Promises: an answer is processed completely before the next poll acknowledges it. No network failure
 * makes it poll in a tight loop or stop for good.
 * Source: docs/protocol.md, Delivery.
 */

import { readAnswer, readRetryAfterMs } from "./answers.js";
import { Backoff, LoopBreaker } from "./backoff.js";
import { Pause } from "./pause.js";

/** @import { Answer } from "./answers.js" */
/** @import { Runtime } from "./runtime.js" */

/** The server holds a poll for at most 25 s; after 20 s more without an answer the request hangs. */
export const WATCHDOG_MS = 45_000;
/** A wake-up does not end a younger poll: several signals arrive at once. */
const FRESH_MS = 1_000;
/** Statuses for a cursor or uid that this server does not know: start again with a new uid. */
const NEEDS_NEW_UID = [400, 410];

/**
 * One poll that has ended; times are milliseconds since 1970, `cursor` is the cursor of its request ("" for a first
 * poll).
 *
 * @typedef {{startedAt: number, endedAt: number, status: number, outcome: Outcome["kind"], cursor: string,
 *   updates: number, by: "tab" | "leader"}} Poll
 */

/**
 * @typedef {"connecting" | "live" | "unconnected" | "waiting" | "offline" | "closed"} State
 * @typedef {{status: number, answer: Answer | null, floorMs: number}} Reply
 * @typedef {Reply & {kind: "answer" | "failed" | "hung" | "interrupted"}} Outcome
 *
 * @typedef {object} Listeners
 * @property {(state: State) => void} onState Called also when the state is the same as before.
 * @property {(from: string, answer: Answer) => void} onAnswer
 * @property {(poll: {startedAt: number, from: string, outcome: Outcome}) => void} onPoll A poll has ended.
 */

export class Poller {
  /** The `reconnectWith` of the next poll, "" for a first one. */
  position = "";
  #runtime;
  #baseUrl;
  #listeners;
  #backoff;
  #pause;
  #breaker = new LoopBreaker();
  /** A poll has failed since the last answer. */
  #isInDoubt = false;
  #isOffline = false;
  #startedAt = 0;
  /** The current run; an ended run does not continue after its wait. @type {object | null} */
  #run = null;
  /** @type {AbortController | null} */
  #request = null;

  /**
   * @param {Runtime} runtime
   * @param {string} baseUrl
   * @param {Listeners} listeners
   */
  constructor(runtime, baseUrl, listeners) {
    this.#runtime = runtime;
    this.#baseUrl = baseUrl;
    this.#listeners = listeners;
    this.#backoff = new Backoff(runtime.random, runtime.now);
    this.#pause = new Pause(runtime);
  }

  /**
   * Poll from `position` until stopped. A request under way is aborted.
   *
   * @param {string} position
   * @param {boolean} [isInDoubt] Whether the server may be unreachable.
   */
  start(position, isInDoubt = false) {
    this.stop();
    this.position = position;
    this.#isInDoubt = isInDoubt;
    void this.#runOn((this.#run = {}));
  }

  stop() {
    this.#run = null;
    this.#request?.abort();
    this.#pause.end();
  }

  /** Poll at once: the page is back, and the old request may be dead. */
  wake() {
    if (this.#request && this.#runtime.now() - this.#startedAt >= FRESH_MS) this.#request.abort();
    this.#pause.cutShort();
  }

  /** The network has gone: do not wait until the request fails. */
  loseNetwork() {
    if (!this.#run) return;
    this.#isOffline = true;
    this.#listeners.onState("offline");
    this.#request?.abort();
  }

  /** Start again with a new uid. */
  restart() {
    this.position = "";
    this.#request?.abort();
  }

  /** @param {object} run */
  async #runOn(run) {
    while (this.#run === run) {
      const from = this.position;
      const outcome = await this.#poll();
      this.#listeners.onPoll({ startedAt: this.#startedAt, from, outcome });
      if (this.#run === run) await this.#settle(run, from, outcome);
    }
  }

  /** @returns {Promise<Outcome>} */
  async #poll() {
    const runtime = this.#runtime;
    const request = new AbortController();
    const watchdog = runtime.setTimeout(() => request.abort("hung"), WATCHDOG_MS);
    this.#request = request;
    this.#isOffline = false;
    this.#startedAt = runtime.now();
    try {
      if (this.#isInDoubt && this.position) void this.#probe(request.signal);
      const reply = await this.#get(this.position, request.signal);
      return { kind: reply.answer ? "answer" : "failed", ...reply };
    } catch {
      const { aborted, reason } = request.signal;
      const kind = aborted ? (reason === "hung" ? reason : "interrupted") : "failed";
      return { kind, status: 0, answer: null, floorMs: 0 };
    } finally {
      if (this.#request === request) this.#request = null;
      runtime.clearTimeout(watchdog);
      request.abort();
    }
  }

  /**
   * Find out whether the server is back. The poll itself may be held in silence for 25 s, but a first poll is answered
   * at once. Its uid is dropped: nothing is bound to it.
   *
   * @param {AbortSignal} signal
   */
  async #probe(signal) {
    try {
      if ((await this.#get("", signal)).answer) this.#listeners.onState("live");
    } catch {
      // The poll beside it reports what is wrong.
    }
  }

  /**
   * Send a poll and read its answer. Errors: whatever `fetch` throws; the signal's reason once it is aborted.
   *
   * @param {string} reconnectWith
   * @param {AbortSignal} signal
   * @returns {Promise<Reply>}
   */
  async #get(reconnectWith, signal) {
    const { fetch, now } = this.#runtime;
    const init = { headers: { Accept: "application/json" }, cache: /** @type {const} */ ("no-store"), signal };
    const response = await fetch(this.#baseUrl + reconnectWith, init);
    const text = await response.text();
    signal.throwIfAborted();
    const { status, headers } = response;
    return { status, answer: status === 200 ? readAnswer(text) : null, floorMs: readRetryAfterMs(headers, now()) };
  }

  /**
   * @param {object} run
   * @param {string} from
   * @param {Outcome} outcome
   */
  async #settle(run, from, outcome) {
    if (outcome.answer) return this.#accept(run, from, outcome.answer);
    if (outcome.kind === "interrupted") return this.#isOffline ? this.#waitAfterFailure(run, 0) : undefined;
    if (NEEDS_NEW_UID.includes(outcome.status)) this.position = "";
    return this.#waitAfterFailure(run, outcome.floorMs);
  }

  /**
   * @param {object} run
   * @param {string} from
   * @param {Answer} answer
   */
  async #accept(run, from, answer) {
    const tookMs = this.#runtime.now() - this.#startedAt;
    const isProgress = answer.reconnectWith !== from && answer.updates.length + answer.gaps.length > 0;
    this.position = answer.reconnectWith;
    this.#isInDoubt = false;
    this.#listeners.onState("live");
    this.#listeners.onAnswer(from, answer);
    if (this.#run !== run) return;
    if (this.#breaker.trips(isProgress, tookMs)) return await this.#waitAfterFailure(run, answer.retryMs);
    this.#backoff.reset();
    // The server spreads these waits itself, so the client waits exactly that long.
    if (answer.retryMs > 0) await this.#wait(run, answer.retryMs, answer.retryMs, "live");
  }

  /**
   * @param {object} run
   * @param {number} floorMs
   */
  #waitAfterFailure(run, floorMs) {
    this.#isInDoubt = true;
    return this.#wait(run, this.#backoff.next(floorMs), floorMs, "connecting");
  }

  /**
   * @param {object} run
   * @param {number} milliseconds
   * @param {number} floorMs
   * @param {State} next
   */
  async #wait(run, milliseconds, floorMs, next) {
    this.#listeners.onState(this.#runtime.page?.navigator.onLine === false ? "offline" : "waiting");
    await this.#pause.wait(milliseconds, floorMs);
    if (this.#run === run) this.#listeners.onState(next);
  }
}
