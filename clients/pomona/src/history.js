/** @import { Answer } from "./answers.js" */

/** So many answers, of at most 256 KiB each, help a tab that missed some. */
const MAX_ANSWERS = 16;

/**
 * The answers that a tab has taken in last, and its position after them. Pure.
 *
 * Positions are cursors as the server gave them: compared, never read.
 */
export class History {
  /** Position of this tab; "" before the first answer. */
  position = "";
  /** @type {{from: string, answer: Answer}[]} */
  #taken = [];

  /**
   * Take in an answer to a poll from `from`.
   *
   * @param {string} from
   * @param {Answer} answer
   */
  add(from, answer) {
    this.position = answer.reconnectWith;
    if (from === this.position) return;
    this.#taken.push({ from, answer });
    if (this.#taken.length > MAX_ANSWERS) this.#taken.shift();
  }

  /**
   * Begin anew at a position that others have reached.
   *
   * @param {string} position
   */
  restart(position) {
    this.position = position;
    this.#taken = [];
  }

  /**
   * Whether this tab is, or has been, at a position.
   *
   * @param {string} position
   */
  knows(position) {
    return position !== "" && (position === this.position || this.#taken.some(({ from }) => from === position));
  }

  /**
   * Return what came after a position that this tab has been at, oldest first.
   *
   * @param {string} position
   */
  since(position) {
    const index = this.#taken.findIndex(({ from }) => from === position);
    return index < 0 ? [] : this.#taken.slice(index);
  }
}
