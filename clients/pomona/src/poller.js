/**
 * The poll loop: always one request under way, or a pause with a reason.
 *
 * Owns the cursor and the poller's state. Promises: an answer is handed over whole before the next poll
 * acknowledges it; nothing the network does makes it poll in a tight loop or stop for good.
 * Source: docs/protocol.md, Delivery.
 */

import { readAnswer, readRetryAfterMs } from "./answers.js";
import { Backoff, LoopBreaker } from "./backoff.js";
import { Pause } from "./pause.js";

/** @import { Answer } from "./answers.js" */
/** @import { Runtime } from "./runtime.js" */

/** The server holds a poll for at most 25 s; 20 s more without an answer means that the request hangs. */
const WATCHDOG_MS = 45_000;
/** A wake-up leaves a poll alone that is younger: several signals come at once. */
const FRESH_MS = 1_000;
/** The cursor or the uid is not known to this server: begin anew. */
const BEGIN_ANEW = new Set([400, 410]);

/**
 * @typedef {"connecting" | "live" | "waiting" | "offline" | "closed"} State
 * @typedef {{kind: "answer", answer: Answer, tookMs: number}
 *   | {kind: "failed", status: number, floorMs: number}
 *   | {kind: "hung"}
 *   | {kind: "interrupted"}} Outcome
 */

export class Poller {
  /** @type {State} */
  state = "connecting";
  #runtime;
  #baseUrl;
  #listeners;
  #backoff;
  #pause;
  #breaker = new LoopBreaker();
  #reconnectWith = "";
  /** A poll has failed since the last answer. */
  #isInDoubt = false;
  #startedAt = 0;
  /** @type {AbortController | null} */
  #request = null;

  /**
   * @param {Runtime} runtime
   * @param {string} baseUrl
   * @param {{onState: (state: State, previous: State) => void, onAnswer: (answer: Answer) => void}} listeners
   */
  constructor(runtime, baseUrl, listeners) {
    this.#runtime = runtime;
    this.#baseUrl = baseUrl;
    this.#listeners = listeners;
    this.#backoff = new Backoff(runtime.random);
    this.#pause = new Pause(runtime);
  }

  /** Poll until closed. */
  async run() {
    while (!this.#isClosed()) {
      const outcome = await this.#poll();
      if (!this.#isClosed()) await this.#settle(outcome);
    }
  }

  /** Poll at once: the page is back, and what was under way may be dead. */
  wake() {
    if (this.#request && this.#runtime.now() - this.#startedAt >= FRESH_MS) this.#request.abort();
    this.#pause.cutShort();
  }

  /** The network has gone: don't wait for the request to find out. */
  loseNetwork() {
    if (this.#isClosed()) return;
    this.#setState("offline");
    this.#request?.abort();
  }

  /** Begin anew, with a new uid. */
  restart() {
    this.#reconnectWith = "";
    this.#request?.abort();
  }

  close() {
    this.#setState("closed");
    this.#request?.abort();
    this.#pause.end();
  }

  /** @returns {Promise<Outcome>} */
  async #poll() {
    const runtime = this.#runtime;
    const request = new AbortController();
    let isHung = false;
    const watchdog = runtime.setTimeout(() => {
      isHung = true;
      request.abort();
    }, WATCHDOG_MS);
    this.#request = request;
    this.#startedAt = runtime.now();
    try {
      if (this.#isInDoubt && this.#reconnectWith) void this.#probe(request.signal);
      const response = await this.#get(this.#reconnectWith, request.signal);
      const text = await response.text();
      if (request.signal.aborted) return isHung ? { kind: "hung" } : { kind: "interrupted" };
      return this.#judge(response, text);
    } catch {
      if (isHung) return { kind: "hung" };
      return request.signal.aborted ? { kind: "interrupted" } : { kind: "failed", status: 0, floorMs: 0 };
    } finally {
      this.#request = null;
      runtime.clearTimeout(watchdog);
      request.abort();
    }
  }

  /**
   * Find out whether the server is there again, where the poll itself may be held in silence for 25 s: a first poll
   * is answered at once, and its uid, bound to nothing, forgotten.
   *
   * @param {AbortSignal} signal
   */
  async #probe(signal) {
    try {
      const response = await this.#get("", signal);
      const isAnswer = response.status === 200 && readAnswer(await response.text()) !== null;
      if (isAnswer && !signal.aborted) this.#setState("live");
    } catch {
      // The poll beside it tells what is wrong.
    }
  }

  /**
   * @param {string} reconnectWith
   * @param {AbortSignal} signal
   */
  #get(reconnectWith, signal) {
    const headers = { Accept: "application/json" };
    return this.#runtime.fetch(this.#baseUrl + reconnectWith, { headers, cache: "no-store", signal });
  }

  /**
   * @param {Response} response
   * @param {string} text
   * @returns {Outcome}
   */
  #judge(response, text) {
    const now = this.#runtime.now();
    const answer = response.status === 200 ? readAnswer(text) : null;
    if (answer) return { kind: "answer", answer, tookMs: now - this.#startedAt };
    return { kind: "failed", status: response.status, floorMs: readRetryAfterMs(response.headers, now) };
  }

  /** @param {Outcome} outcome */
  async #settle(outcome) {
    if (outcome.kind === "answer") return this.#accept(outcome.answer, outcome.tookMs);
    if (outcome.kind === "interrupted") return this.state === "offline" ? this.#waitAfterFailure(0) : undefined;
    if (outcome.kind === "failed" && BEGIN_ANEW.has(outcome.status)) this.#reconnectWith = "";
    return this.#waitAfterFailure(outcome.kind === "failed" ? outcome.floorMs : 0);
  }

  /**
   * @param {Answer} answer
   * @param {number} tookMs
   */
  async #accept(answer, tookMs) {
    const isProgress = answer.reconnectWith !== this.#reconnectWith && answer.updates.length + answer.gaps.length > 0;
    this.#reconnectWith = answer.reconnectWith;
    this.#isInDoubt = false;
    this.#setState("live");
    this.#listeners.onAnswer(answer);
    if (this.#isClosed()) return;
    if (this.#breaker.trips(isProgress, tookMs)) return await this.#waitAfterFailure(answer.retryMs);
    this.#backoff.reset();
    // The server has spread these waits itself, so it gets exactly what it asked for.
    if (answer.retryMs > 0) await this.#wait(answer.retryMs, answer.retryMs, "live");
  }

  /** @param {number} floorMs */
  #waitAfterFailure(floorMs) {
    this.#isInDoubt = true;
    return this.#wait(this.#backoff.next(floorMs), floorMs, "connecting");
  }

  /**
   * @param {number} milliseconds
   * @param {number} floorMs
   * @param {State} next
   */
  async #wait(milliseconds, floorMs, next) {
    this.#setState(this.#runtime.page?.navigator.onLine === false ? "offline" : "waiting");
    await this.#pause.wait(milliseconds, floorMs);
    this.#setState(next);
  }

  #isClosed() {
    return this.state === "closed";
  }

  /** @param {State} state */
  #setState(state) {
    const previous = this.state;
    if (state === previous || this.#isClosed()) return;
    this.state = state;
    this.#listeners.onState(state, previous);
  }
}
