/** @import { Runtime } from "./runtime.js" */

/** A wait that a wake-up cuts short, but never below the time that a server asked for. */
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
   * @param {number} floorMs The shortest wait, also when it is cut short.
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

  /** End the wait now, whatever its floor: there will be no next try. */
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
