/** Shows notices over the page for a while: an error, and the offer to undo. */

import { find, setText } from "./page.js";

/** Long enough to read and to reach. The offer stays while it has the focus or the pointer. */
const UNDO_MS = 10_000;
/** Elements in which the keys for undo apply to the text. */
const OWN_UNDO = "textarea, input[type=text]:not(:placeholder-shown)";

export class Notices {
  #root;
  #error;
  #offer;
  #listeners;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #offerEnd;

  /**
   * @param {Document} root
   * @param {{onUndo: () => void, onClosed: () => void}} listeners `onClosed` is called when a notice closes that had
   *   the focus.
   */
  constructor(root, listeners) {
    this.#root = root;
    this.#error = find(root, "error", HTMLElement);
    this.#offer = find(root, "undo-offer", HTMLElement);
    this.#listeners = listeners;
    find(root, "dismiss", HTMLButtonElement).addEventListener("click", () => this.#dismiss());
    find(root, "undo", HTMLButtonElement).addEventListener("click", () => this.#undo());
    root.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /**
   * Show an error until it is dismissed or something else is done.
   *
   * @param {string} message
   */
  showError(message) {
    setText(this.#root, "error-text", message);
    this.#error.hidden = false;
  }

  clearError() {
    this.#error.hidden = true;
  }

  /**
   * Offer to undo for a while.
   *
   * @param {string} what
   */
  offerUndo(what) {
    setText(this.#root, "undo-text", what);
    this.#offer.hidden = false;
    this.#endOfferLater();
  }

  #dismiss() {
    this.clearError();
    this.#listeners.onClosed();
  }

  #undo() {
    clearTimeout(this.#offerEnd);
    this.#offer.hidden = true;
    this.#listeners.onClosed();
    this.#listeners.onUndo();
  }

  #endOfferLater() {
    clearTimeout(this.#offerEnd);
    this.#offerEnd = setTimeout(() => {
      if (this.#offer.matches(":hover, :focus-within")) this.#endOfferLater();
      else this.#offer.hidden = true;
    }, UNDO_MS);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
    const isForText = event.target instanceof HTMLElement && event.target.matches(OWN_UNDO);
    if (!isUndo || isForText || this.#offer.hidden) return;
    event.preventDefault();
    this.#undo();
  }
}
