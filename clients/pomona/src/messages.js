/** @import { Firenze } from "./core.js" */
/** @import { Update } from "./answers.js" */

/**
 * @typedef {object} MessagesOptions
 * @property {AbortSignal} [signal] Ends the iteration.
 * @property {number} [limit] How many messages may wait for the loop, 1000 by default.
 */

/**
 * The messages of a path, one for each turn of a `for await` loop.
 *
 * At most `limit` messages wait. A further one is dropped: the loop gets those that wait, and then a RangeError, so
 * that a slow loop knows that it has missed some. After that, and after the loop has ended, nothing is kept.
 *
 * @implements {AsyncIterableIterator<Update>}
 */
export class Messages {
  #limit;
  #stop;
  /** @type {Update[]} */
  #waiting = [];
  /** @type {((result?: unknown) => void) | null} */
  #wake = null;
  #isOver = false;
  /** @type {RangeError | null} */
  #error = null;

  /**
   * @param {Firenze} firenze
   * @param {string} path
   * @param {MessagesOptions} [options]
   */
  constructor(firenze, path, { signal, limit = 1_000 } = {}) {
    this.#limit = limit;
    const unsubscribe = firenze.subscribe(path, (message) => this.#take({ path, message }));
    const end = () => void this.return();
    const onState = () => firenze.state === "closed" && end();
    firenze.addEventListener("state", onState);
    signal?.addEventListener("abort", end);
    this.#stop = () => {
      unsubscribe();
      firenze.removeEventListener("state", onState);
      signal?.removeEventListener("abort", end);
    };
    if (signal?.aborted || firenze.state === "closed") end();
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** @returns {Promise<IteratorResult<Update, undefined>>} */
  async next() {
    while (true) {
      const value = this.#waiting.shift();
      if (value) return { value, done: false };
      const error = this.#error;
      this.#error = null;
      if (error) throw error;
      if (this.#isOver) return { value: undefined, done: true };
      await new Promise((resolve) => (this.#wake = resolve));
    }
  }

  /** @returns {Promise<IteratorReturnResult<undefined>>} */
  async return() {
    this.#waiting = [];
    this.#end();
    return { value: undefined, done: true };
  }

  /** @param {Update} update */
  #take(update) {
    if (this.#waiting.length < this.#limit) this.#waiting.push(update);
    else {
      this.#error = new RangeError(`More than ${this.#limit} messages of ${update.path} waited.`);
      this.#end();
    }
    this.#wake?.();
  }

  #end() {
    this.#isOver = true;
    this.#stop();
    this.#wake?.();
  }
}
