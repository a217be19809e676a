/**
 * Keeps what the server lets this uid hear equal to what the page wants to hear.
 *
 * Owns the wanted paths and each one's standing with the server. Promises: one request at a time, so that connecting
 * and disconnecting never overtake each other; a refused path is not asked for again until the page asks again or
 * the uid is a new one.
 * Source: docs/protocol.md, Connecting.
 */

import { readRefusals, readRetryAfterMs } from "./answers.js";
import { Backoff } from "./backoff.js";
import { Pause } from "./pause.js";

/** @import { PathReason } from "./answers.js" */
/** @import { Runtime } from "./runtime.js" */

const MAX_PATHS = 128;
const TIMEOUT_MS = 20_000;
const UNKNOWN_UID = 410;
/** Statuses below 500 that may pass by themselves. */
const PASSING = new Set([408, 425, 429]);

/**
 * What the server has said about a path: nothing yet, an answer, a confirmation through the poll, or no.
 *
 * @typedef {"asked" | "connected" | "confirmed" | "refused"} Standing
 * @typedef {{isConnect: boolean, paths: string[]}} Batch
 * @typedef {{status: number, text: string, floorMs: number}} Reply
 */

export class Connector {
  #runtime;
  #urls;
  #listeners;
  #backoff;
  #pause;
  /** @type {string | null} */
  #uid = null;
  /** @type {Set<string>} */
  #wanted = new Set();
  /** @type {Map<string, Standing>} */
  #standing = new Map();
  /** Paths whose withdrawal was this page's own wish. @type {Set<string>} */
  #leaving = new Set();
  /** @type {AbortController | null} */
  #request = null;
  #isRunning = false;

  /**
   * @param {Runtime} runtime
   * @param {{connect: string, disconnect: string}} urls `%@` stands for the uid.
   * @param {{onRefused: (refusal: PathReason) => void, onUnknownUid: () => void}} listeners
   */
  constructor(runtime, urls, listeners) {
    this.#runtime = runtime;
    this.#urls = urls;
    this.#listeners = listeners;
    this.#backoff = new Backoff(runtime.random);
    this.#pause = new Pause(runtime);
  }

  /** @param {string} path */
  want(path) {
    if (this.#standing.get(path) === "refused") this.#standing.delete(path);
    this.#wanted.add(path);
    this.#schedule();
  }

  /** @param {string} path */
  unwant(path) {
    if (this.#standing.get(path) === "refused") this.#standing.delete(path);
    this.#wanted.delete(path);
    this.#schedule();
  }

  /**
   * Connect all wanted paths for a new uid; null means that there is none for now.
   *
   * @param {string | null} uid
   */
  useUid(uid) {
    this.#uid = uid;
    this.#standing.clear();
    this.#leaving.clear();
    this.#request?.abort();
    this.#schedule();
  }

  /** @param {string} path */
  isConfirmed(path) {
    return this.#standing.get(path) === "confirmed";
  }

  /**
   * The poll has brought the path's confirmation.
   *
   * @param {string} path
   */
  confirm(path) {
    this.#leaving.delete(path);
    this.#standing.set(path, "confirmed");
    this.#schedule();
  }

  /**
   * The poll has brought the news that the path is withdrawn.
   *
   * @param {string} path
   */
  withdraw(path) {
    if (this.#leaving.delete(path)) return;
    if (this.#wanted.has(path)) this.#refuse({ path, reason: "withdrawn" });
    else this.#standing.delete(path);
  }

  /** Try again as early as the server allows. */
  wake() {
    this.#pause.cutShort();
  }

  close() {
    this.#wanted.clear();
    this.useUid(null);
    this.#pause.end();
  }

  /** What the page does within one turn goes into one request. */
  #schedule() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    queueMicrotask(() => this.#run());
  }

  async #run() {
    for (let batch = this.#nextBatch(); batch; batch = this.#nextBatch()) {
      const floorMs = await this.#send(batch);
      if (floorMs !== null) await this.#pause.wait(this.#backoff.next(floorMs), floorMs);
    }
    this.#isRunning = false;
  }

  /** @returns {Batch | null} */
  #nextBatch() {
    if (this.#uid === null) return null;
    const unwanted = [...this.#standing.keys()].filter((path) => !this.#wanted.has(path));
    if (unwanted.length > 0) return { isConnect: false, paths: unwanted.slice(0, MAX_PATHS) };
    const missing = [...this.#wanted].filter((path) => (this.#standing.get(path) ?? "asked") === "asked");
    return missing.length > 0 ? { isConnect: true, paths: missing.slice(0, MAX_PATHS) } : null;
  }

  /**
   * Send one request and take in its answer.
   *
   * @param {Batch} batch
   * @returns {Promise<number | null>} The floor of the pause before the next try in milliseconds, null for no pause.
   */
  async #send({ isConnect, paths }) {
    for (const path of paths) {
      if (isConnect) this.#standing.set(path, "asked");
      else this.#leaving.add(path);
    }
    const url = isConnect ? this.#urls.connect : this.#urls.disconnect;
    const request = new AbortController();
    this.#request = request;
    const timer = this.#runtime.setTimeout(() => request.abort("timeout"), TIMEOUT_MS);
    try {
      const reply = await this.#post(url, paths, request.signal);
      if (request.signal.aborted) return null;
      return isConnect ? this.#afterConnect(paths, reply) : this.#afterDisconnect(paths, reply);
    } catch {
      return request.signal.aborted && request.signal.reason !== "timeout" ? null : 0;
    } finally {
      this.#request = null;
      this.#runtime.clearTimeout(timer);
    }
  }

  /**
   * @param {string} url
   * @param {string[]} paths
   * @param {AbortSignal} signal
   * @returns {Promise<Reply>}
   */
  async #post(url, paths, signal) {
    const response = await this.#runtime.fetch(url.replace("%@", () => String(this.#uid)), {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(paths),
      cache: "no-store",
      signal,
    });
    const floorMs = readRetryAfterMs(response.headers, this.#runtime.now());
    return { status: response.status, text: await response.text(), floorMs };
  }

  /**
   * @param {string[]} paths
   * @param {Reply} reply
   */
  #afterConnect(paths, { status, text, floorMs }) {
    if (status === UNKNOWN_UID) return this.#dropUid();
    if (isPassing(status)) return floorMs;
    this.#backoff.reset();
    const reasons = new Map(readRefusals(text).map(({ path, reason }) => [path, reason]));
    for (const path of paths) {
      const reason = reasons.get(path) ?? (isOk(status) ? null : `status ${status}`);
      if (reason !== null) this.#refuse({ path, reason });
      // The poll's confirmation may have been quicker than this answer.
      else if (this.#standing.get(path) === "asked") this.#standing.set(path, "connected");
    }
    return null;
  }

  /**
   * @param {string[]} paths
   * @param {Reply} reply
   */
  #afterDisconnect(paths, { status, floorMs }) {
    if (status === UNKNOWN_UID) return this.#dropUid();
    if (isPassing(status)) return floorMs;
    this.#backoff.reset();
    for (const path of paths) this.#standing.delete(path);
    return null;
  }

  /** The pause that follows keeps two services that disagree about uids from sending the page round in circles. */
  #dropUid() {
    this.useUid(null);
    this.#listeners.onUnknownUid();
    return 0;
  }

  /** @param {PathReason} refusal */
  #refuse(refusal) {
    if (!this.#wanted.has(refusal.path)) return void this.#standing.delete(refusal.path);
    this.#standing.set(refusal.path, "refused");
    this.#listeners.onRefused(refusal);
  }
}

/** @param {number} status */
function isOk(status) {
  return status >= 200 && status < 300;
}

/** @param {number} status */
function isPassing(status) {
  return status >= 500 || PASSING.has(status);
}
