/**
 * How long to wait before the next try. Pure but for the chance it is given.
 */

const FIRST_CAP_MS = 1_000;
const LAST_CAP_MS = 32_000;
const QUICK_MS = 1_000;
const MAX_QUICK = 5;
/** So many short waits within this time, however often something succeeded between: then each may be the longest. */
const MAX_RETRIES = 10;
const BUDGET_MS = 60_000;

/** Exponential back-off with full jitter: a crowd cut off at one moment does not come back at one moment. */
export class Backoff {
  #failures = 0;
  /** When it was asked lately. @type {number[]} */
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
   * @param {number} [floorMs] What the server asked for at least. The jitter goes on top of it, since the server
   *   says the same number to everyone.
   */
  next(floorMs = 0) {
    const now = this.#now();
    this.#retries = this.#retries.filter((at) => at > now - BUDGET_MS);
    const isOverBudget = this.#retries.push(now) > MAX_RETRIES;
    const capMs = isOverBudget ? LAST_CAP_MS : Math.min(LAST_CAP_MS, FIRST_CAP_MS * 2 ** this.#failures);
    this.#failures += 1;
    return floorMs + this.#random() * capMs;
  }

  /** Begin again at the shortest wait: something succeeded. */
  reset() {
    this.#failures = 0;
  }
}

/** Notices polls that are answered at once again and again and bring nothing, whatever the reason. */
export class LoopBreaker {
  #quickInARow = 0;

  /**
   * Return whether this answer is one too many of its kind, so that the next poll has to wait.
   *
   * @param {boolean} isProgress The answer brought something new.
   * @param {number} tookMs
   */
  trips(isProgress, tookMs) {
    this.#quickInARow = isProgress || tookMs >= QUICK_MS ? 0 : this.#quickInARow + 1;
    return this.#quickInARow > MAX_QUICK;
  }
}
