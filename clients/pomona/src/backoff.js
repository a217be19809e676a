/**
 * Computes how long to wait before the next try. Pure, apart from the random numbers that it is given.
 */

const FIRST_CAP_MS = 1_000;
const LAST_CAP_MS = 32_000;
const QUICK_MS = 1_000;
const MAX_QUICK = 5;
/** After this many waits within this time each one may be the longest, even with successes in between. */
const MAX_RETRIES = 10;
const BUDGET_MS = 60_000;

/** Exponential back-off with full jitter: clients that were cut off together come back at different times. */
export class Backoff {
  #failures = 0;
  /** The times of the last waits. @type {number[]} */
  #retries = [];
  #random;
  #now;

  /**
   * @param {() => number} random
   * @param {() => number} [now]
   */
  constructor(random, now = () => Date.now()) {
    this.#random = random;
    this.#now = now;
  }

  /**
   * Return the milliseconds to wait after one more failure.
   *
   * @param {number} [floorMs] The least that the server asked for. The jitter is added to it, because the server sends
   *   the same number to all clients.
   */
  next(floorMs = 0) {
    const now = this.#now();
    this.#retries = this.#retries.filter((at) => at > now - BUDGET_MS);
    const isOverBudget = this.#retries.push(now) > MAX_RETRIES;
    const capMs = isOverBudget ? LAST_CAP_MS : Math.min(LAST_CAP_MS, FIRST_CAP_MS * 2 ** this.#failures);
    this.#failures += 1;
    return floorMs + this.#random() * capMs;
  }

  /** Start again at the shortest wait: a request succeeded. */
  reset() {
    this.#failures = 0;
  }
}

/** Notices polls that are repeatedly answered at once without updates, whatever the reason. */
export class LoopBreaker {
  #quickInARow = 0;

  /**
   * Return whether there were too many such answers in a row, so that the next poll has to wait.
   *
   * @param {boolean} isProgress The answer brought something new.
   * @param {number} tookMs
   */
  trips(isProgress, tookMs) {
    this.#quickInARow = isProgress || tookMs >= QUICK_MS ? 0 : this.#quickInARow + 1;
    return this.#quickInARow > MAX_QUICK;
  }
}
