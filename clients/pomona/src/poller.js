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
/** A poll that has not failed by now is being held: a server that is down refuses, a proxy in front of one says 502. */
const PRESUMED_HELD_MS = 2_000;
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
  #hasHung = false;
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
    const presumption = this.#presumeHeldSoon();
    this.#request = request;
    this.#startedAt = runtime.now();
    try {
      const response = await runtime.fetch(this.#baseUrl + this.#reconnectWith, {
        headers: { Accept: "application/json" },
        cache: "no-store",
        signal: request.signal,
      });
      const text = await response.text();
      if (request.signal.aborted) return isHung ? { kind: "hung" } : { kind: "interrupted" };
      return this.#judge(response, text);
    } catch {
      if (isHung) return { kind: "hung" };
      return request.signal.aborted ? { kind: "interrupted" } : { kind: "failed", status: 0, floorMs: 0 };
    } finally {
      this.#request = null;
      runtime.clearTimeout(watchdog);
      runtime.clearTimeout(presumption);
    }
  }

  /**
   * After a failure the first sign of health may be that nothing happens, for up to 25 s. Not so for a network
   * that swallows requests: there only an answer counts.
   */
  #presumeHeldSoon() {
    if (!this.#reconnectWith || this.#hasHung) return null;
    return this.#runtime.setTimeout(() => this.#setState("live"), PRESUMED_HELD_MS);
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
    this.#hasHung = outcome.kind === "hung" || (this.#hasHung && outcome.kind !== "answer");
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
    this.#setState("live");
    this.#listeners.onAnswer(answer);
    if (this.#isClosed()) return;
    if (this.#breaker.trips(isProgress, tookMs)) return await this.#waitAfterFailure(answer.retryMs);
    this.#backoff.reset();
    // The server has spread these waits itself, so it gets exactly what it asked for.
    if (answer.retryMs > 0) await this.#wait(answer.retryMs, answer.retryMs);
  }

  /** @param {number} floorMs */
  #waitAfterFailure(floorMs) {
    return this.#wait(this.#backoff.next(floorMs), floorMs);
  }

  /**
   * @param {number} milliseconds
   * @param {number} floorMs
   */
  async #wait(milliseconds, floorMs) {
    this.#setState(this.#runtime.page?.navigator.onLine === false ? "offline" : "waiting");
    await this.#pause.wait(milliseconds, floorMs);
    this.#setState("connecting");
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
