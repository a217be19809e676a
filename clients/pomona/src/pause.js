/** @import { Runtime } from "./runtime.js" */

/** A wait that a wake-up call cuts short, though never below the floor a server asked for. */
export class Pause {
  #runtime;
  /** @type {(() => void) | null} */
  #finish = null;
  /** @type {unknown} */
  #timer = null;
  #floorAt = 0;
  #endAt = 0;

  /** @param {Runtime} runtime */
  constructor(runtime) {
    this.#runtime = runtime;
  }

  /**
   * Resolve after `milliseconds`, or earlier when cut short.
   *
   * @param {number} milliseconds
   * @param {number} floorMs Being cut short does not make the wait shorter than this.
   * @returns {Promise<void>}
   */
  wait(milliseconds, floorMs) {
    const now = this.#runtime.now();
    this.#floorAt = now + floorMs;
    this.#endAt = now + milliseconds;
    return new Promise((resolve) => {
      this.#finish = resolve;
      this.#arm();
    });
  }

  /** End the wait as early as its floor allows. */
  cutShort() {
    this.#endAt = Math.min(this.#endAt, this.#floorAt);
    if (this.#finish) this.#arm();
  }

  /** End the wait now, floor or not: there will be no next try. */
  end() {
    this.#runtime.clearTimeout(this.#timer);
    this.#finish?.();
    this.#finish = null;
  }

  #arm() {
    this.#runtime.clearTimeout(this.#timer);
    const leftMs = Math.max(0, this.#endAt - this.#runtime.now());
    this.#timer = this.#runtime.setTimeout(() => this.end(), leftMs);
  }
}
