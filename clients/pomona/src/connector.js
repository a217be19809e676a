/**
 * Keeps the paths that are connected equal to the paths that the page wants.
 *
 * Owns the wanted paths and the server's answer for each. Promises: one request at a time, so that connecting and
 * disconnecting never overtake each other. A refused path is not requested again until the page asks again or the
 * uid changes. In a tab that does not lead it is passive: it sends nothing, and records what the leader reports.
 * Source: docs/protocol.md, Connecting.
 */

import { readReason, readRetryAfterMs } from "./answers.js";
import { Backoff } from "./backoff.js";
import { Pause } from "./pause.js";

/** @import { PathReason } from "./answers.js" */
/** @import { Credentials } from "./credentials.js" */
/** @import { Runtime } from "./runtime.js" */

export const MAX_PATHS = 128;
const TIMEOUT_MS = 20_000;
/** The shortest hold. If a poll that is answered later has no confirmation, none will come. */
const CONFIRMED_MS = 20_000;
const UNKNOWN_UID = 410;
const FORBIDDEN = 403;
/** Statuses below 500 that may pass by themselves. */
const PASSING = [408, 425, 429];

/**
 * What the server has answered for a path: nothing yet, an answer (and when), a confirmation by a poll, or a refusal.
 *
 * @typedef {"asked" | number | "confirmed" | "refused"} Standing
 * @typedef {{isConnect: boolean, paths: string[]}} Batch
 * @typedef {{status: number, text: string, floorMs: number}} Reply
 */

export class Connector {
  #runtime;
  #credentials;
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
  /** Requested paths that are not connected, each with the reason. @type {Map<string, string>} */
  #unconnected = new Map();
  /** The token of each path's last request. @type {Map<string, string | null>} */
  #tokens = new Map();
  /** Paths that this page disconnects itself. @type {Set<string>} */
  #leaving = new Set();
  #isActive = false;
  /** @type {AbortController | null} */
  #request = null;
  #isRunning = false;

  /**
   * @param {Runtime} runtime
   * @param {Credentials} credentials
   * @param {{connect: string, disconnect: string}} urls `%@` stands for the uid.
   * @param {{onRefused: (refusal: PathReason, kind: "refused" | "unconnected") => void, onUnknownUid: () => void}}
   *   listeners
   */
  constructor(runtime, credentials, urls, listeners) {
    this.#runtime = runtime;
    this.#credentials = credentials;
    this.#urls = urls;
    this.#listeners = listeners;
    this.#backoff = new Backoff(runtime.random, runtime.now);
    this.#pause = new Pause(runtime);
  }

  /**
   * From now on, connect all wanted paths and disconnect the others.
   *
   * @param {Iterable<string>} wanted
   */
  activate(wanted) {
    this.#isActive = true;
    this.#wanted = new Set(wanted);
    this.#pause.cutShort();
    this.#schedule();
  }

  /** From now on, send nothing. */
  rest() {
    this.#isActive = false;
    this.#wanted.clear();
    this.#leaving.clear();
    this.#unconnected.clear();
    this.#request?.abort();
  }

  /** Whether a wanted path is neither connected nor refused. */
  get isUnconnected() {
    return this.#unconnected.size > 0;
  }

  /** @param {string} path */
  want(path) {
    if (this.#standing.get(path) === "refused") {
      this.#standing.delete(path);
      // The user's rights may have changed: another token may say so.
      this.#hasOtherToken(path);
    }
    this.#wanted.add(path);
    this.#schedule();
  }

  /** @param {string} path */
  unwant(path) {
    if (this.#standing.get(path) === "refused") this.#standing.delete(path);
    this.#wanted.delete(path);
    this.#unconnected.delete(path);
    this.#schedule();
  }

  /**
   * Connect all wanted paths for a new uid; null means that there is none yet.
   *
   * @param {string | null} uid
   * @param {string[]} [confirmed] The paths that it receives already.
   */
  useUid(uid, confirmed = []) {
    this.#uid = uid;
    this.#standing = new Map(confirmed.map((path) => [path, "confirmed"]));
    this.#unconnected.clear();
    this.#leaving.clear();
    this.#request?.abort();
    this.#schedule();
  }

  /** @param {string} path */
  isConfirmed(path) {
    return this.#standing.get(path) === "confirmed";
  }

  /** Return the paths that the server has confirmed. */
  confirmed() {
    return [...this.#standing.keys()].filter((path) => this.isConfirmed(path));
  }

  /**
   * Record the path's confirmation, which a poll has brought.
   *
   * @param {string} path
   */
  confirm(path) {
    this.#leaving.delete(path);
    this.#unconnected.delete(path);
    this.#standing.set(path, "confirmed");
    this.#schedule();
  }

  /** After an answered poll, request again the paths whose confirmation is overdue. */
  checkConfirmations() {
    const due = this.#runtime.now() - CONFIRMED_MS;
    for (const [path, standing] of this.#standing) {
      if (typeof standing === "number" && standing <= due) {
        this.#standing.set(path, "asked");
        this.#miss([path], "unconfirmed");
      }
    }
    this.#schedule();
  }

  /**
   * Record that the path was withdrawn, as a poll has reported.
   *
   * @param {string} path
   * @param {string} [reason]
   */
  withdraw(path, reason = "withdrawn") {
    if (this.#leaving.delete(path)) return;
    if (this.#wanted.has(path)) void this.#regain(path, reason);
    else this.#standing.delete(path);
  }

  /**
   * Record that the leader's request for the path was refused.
   *
   * @param {string} path
   */
  markRefused(path) {
    this.#standing.set(path, "refused");
  }

  /** Try again as early as the server allows. */
  wake() {
    this.#pause.cutShort();
  }

  close() {
    this.rest();
    this.useUid(null);
    this.#pause.end();
  }

  /**
   * Request a withdrawn path again if its token has ended and there is a new one; otherwise report the withdrawal.
   *
   * @param {string} path
   * @param {string} reason
   */
  async #regain(path, reason) {
    const uid = this.#uid;
    this.#standing.set(path, "refused");
    const isRenewed = await this.#hasOtherToken(path);
    if (this.#uid !== uid || this.#standing.get(path) !== "refused") return;
    if (isRenewed && this.#wanted.has(path)) this.want(path);
    else this.#refuse(path, reason);
  }

  /**
   * Without a recorded token another tab sent the request, with the token that is current here too.
   *
   * @param {string} path
   */
  async #hasOtherToken(path) {
    try {
      return await this.#credentials.isOther(this.#tokens.get(path) ?? (await this.#credentials.current()));
    } catch {
      return false;
    }
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
    if (this.#uid === null || !this.#isActive) return null;
    const unwanted = [...this.#standing.keys()].filter((path) => !this.#wanted.has(path));
    const missing = [...this.#wanted].filter((path) => (this.#standing.get(path) ?? "asked") === "asked");
    const isConnect = unwanted.length === 0;
    const paths = (isConnect ? missing : unwanted).slice(0, MAX_PATHS);
    return paths.length > 0 ? { isConnect, paths } : null;
  }

  /**
   * Send one request and take in its answer.
   *
   * @param {Batch} batch
   * @returns {Promise<number | null>} The shortest pause before the next try in milliseconds, null for no pause.
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
      const token = await this.#credentials.current();
      if (request.signal.aborted) return null;
      if (isConnect) for (const path of paths) this.#tokens.set(path, token);
      return this.#after(isConnect, paths, reply);
    } catch {
      if (request.signal.aborted && request.signal.reason !== "timeout") return null;
      if (isConnect) this.#miss(paths, "unreachable");
      return 0;
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
    const response = await this.#credentials.send(url.replace("%@", () => String(this.#uid)), {
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
   * @param {boolean} isConnect
   * @param {string[]} paths
   * @param {Reply} reply
   * @returns {number | null}
   */
  #after(isConnect, paths, { status, text, floorMs }) {
    if (isForeign(status, text)) return this.#dropUid();
    if (isPassing(status)) {
      if (isConnect) this.#miss(paths, `status ${status}`);
      return floorMs;
    }
    this.#backoff.reset();
    for (const path of paths) {
      const reason = readReason(text, path) ?? (status < 300 ? "" : `status ${status}`);
      if (!isConnect) this.#standing.delete(path);
      else if (reason) this.#refuse(path, reason);
      // The poll's confirmation may have arrived before this answer.
      else if (this.#standing.get(path) === "asked") this.#standing.set(path, this.#runtime.now());
    }
    return null;
  }

  /** The pause that follows prevents a tight loop when two services disagree about uids. */
  #dropUid() {
    this.useUid(null);
    this.#listeners.onUnknownUid();
    return 0;
  }

  /**
   * @param {string} path
   * @param {string} reason
   */
  #refuse(path, reason) {
    if (!this.#wanted.has(path)) return void this.#standing.delete(path);
    this.#standing.set(path, "refused");
    this.#unconnected.delete(path);
    this.#listeners.onRefused({ path, reason }, "refused");
  }

  /**
   * Report that these paths are not connected yet, once for each reason.
   *
   * @param {string[]} paths
   * @param {string} reason
   */
  #miss(paths, reason) {
    for (const path of paths) {
      if (!this.#wanted.has(path) || this.#unconnected.get(path) === reason) continue;
      this.#unconnected.set(path, reason);
      this.#listeners.onRefused({ path, reason }, "unconnected");
    }
  }
}

/**
 * Whether the uid is unknown, or belongs to another user by now.
 *
 * @param {number} status
 * @param {string} text
 */
function isForeign(status, text) {
  return status === UNKNOWN_UID || (status === FORBIDDEN && readReason(text) === "identity");
}

/** @param {number} status */
function isPassing(status) {
  return status >= 500 || PASSING.includes(status);
}
