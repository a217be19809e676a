/** @import { Answer } from "./answers.js" */

/** How many answers, of at most 256 KiB each, are kept for a tab that missed some. */
const MAX_ANSWERS = 16;

/**
 * The last answers that a tab has applied, and its position after them. Pure.
 *
 * Positions are cursors as the server gave them: compared, never read.
 */
export class History {
  /** Position of this tab; "" before the first answer. */
  position = "";
  /** The applied answers, each with the position before it. @type {{after: string, answer: Answer}[]} */
  #taken = [];

  /** @param {Answer} answer */
  add(answer) {
    const after = this.position;
    if (answer.reconnectWith === after) return;
    this.position = answer.reconnectWith;
    this.#taken.push({ after, answer });
    if (this.#taken.length > MAX_ANSWERS) this.#taken.shift();
  }

  /**
   * Start again at a position that others have reached.
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
    return position !== "" && (position === this.position || this.#taken.some(({ after }) => after === position));
  }

  /**
   * Return the answers after a position, oldest first.
   *
   * @param {string} position
   */
  since(position) {
    const index = this.#taken.findIndex(({ after }) => after === position);
    return index < 0 ? [] : this.#taken.slice(index);
  }
}
