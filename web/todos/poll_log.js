/**
 * Records the polls and delays since the page was opened, as far as they are shown.
 *
 * Pure: no network, no DOM.
 */

/** @import { Poll } from "/todos/pomona/core.js" */

/** The length of the time line. */
export const LINE_MS = 120_000;

/** The upper ends of the histogram's buckets, in milliseconds; longer delays are in one more. */
export const DELAY_BOUNDS_MS = [5, 10, 20, 50, 100, 200, 500, 1_000];

const MAX_POLLS = 500;

/** The result of a poll, which has a colour on the time line. @typedef {"news" | "quiet" | "failed" | "cut"} Result */

/** @typedef {{poll: Poll, result: Result, heldMs: number}} Entry */

export class PollLog {
  /** The last polls, oldest first. @type {Entry[]} */
  polls = [];
  /** How many messages took how long, by bucket. */
  delays = DELAY_BOUNDS_MS.concat(Infinity).map(() => 0);
  gaps = 0;
  /** When the current poll began, null while there is none. @type {number | null} */
  openSince;

  /** @param {number} now */
  constructor(now) {
    this.openSince = now;
  }

  /** @param {Poll} poll */
  addPoll(poll) {
    this.polls.push({ poll, result: readResult(poll), heldMs: Math.max(0, poll.endedAt - poll.startedAt) });
    if (this.polls.length > MAX_POLLS) this.polls.shift();
    this.openSince = poll.endedAt;
  }

  /**
   * Count how long a change took from its commit to this page. When a server's clock is ahead it counts as 0.
   *
   * @param {number} milliseconds
   */
  addDelay(milliseconds) {
    const bucket = DELAY_BOUNDS_MS.findIndex((bound) => milliseconds <= bound);
    const index = bucket < 0 ? DELAY_BOUNDS_MS.length : bucket;
    this.delays[index] = (this.delays[index] ?? 0) + 1;
  }

  /**
   * Return the bars of the time line that ends now, as shares of its length; the last one is the current poll.
   *
   * @param {number} now
   * @returns {{start: number, length: number, result: Result | "open"}[]}
   */
  bars(now) {
    const first = now - LINE_MS;
    /** @param {number} time */
    const share = (time) => Math.max(0, time - first) / LINE_MS;
    const ended = this.polls
      .filter(({ poll }) => poll.endedAt > first)
      .map(({ poll, result }) => ({
        start: share(poll.startedAt),
        length: share(poll.endedAt) - share(poll.startedAt),
        result,
      }));
    if (this.openSince === null) return ended;
    const start = share(this.openSince);
    return [...ended, { start, length: 1 - start, result: /** @type {const} */ ("open") }];
  }
}

/**
 * @param {Poll} poll
 * @returns {Result}
 */
function readResult({ outcome, updates }) {
  if (outcome === "answer") return updates > 0 ? "news" : "quiet";
  return outcome === "interrupted" ? "cut" : "failed";
}
