/** Moves rows by their handles: with the pointer, a finger, or the arrow keys. */

/** @import { Row } from "./row.js" */

export class Mover {
  /** Whether a row is being dragged: nothing else may change the order then. */
  isMoving = false;
  #list;
  #onMove;

  /**
   * @param {HTMLElement} list
   * @param {(guid: string, before: string | null) => void} onMove A row was put before another, null: last.
   */
  constructor(list, onMove) {
    this.#list = list;
    this.#onMove = onMove;
  }

  /** @param {Row} row */
  watch(row) {
    row.handle.addEventListener("pointerdown", (event) => this.#drag(row, event));
    row.handle.addEventListener("keydown", (event) => this.#onKey(row, event));
  }

  /**
   * @param {Row} row
   * @param {PointerEvent} start
   */
  #drag(row, start) {
    if (start.button !== 0 || this.isMoving) return;
    const { handle, element } = row;
    const end = new AbortController();
    const options = { signal: end.signal };
    this.isMoving = true;
    element.classList.add("is-moving");
    const finish = () => {
      end.abort();
      this.isMoving = false;
      element.classList.remove("is-moving");
      handle.focus();
      this.#onMove(row.guid, guidOf(element.nextElementSibling));
    };
    // On the window: a row that moves in the document loses the pointer's capture.
    window.addEventListener("pointermove", ({ clientY }) => this.#follow(element, clientY), options);
    window.addEventListener("pointerup", finish, options);
    window.addEventListener("pointercancel", finish, options);
  }

  /**
   * Put the row where the pointer is.
   *
   * @param {Element} element
   * @param {number} y
   */
  #follow(element, y) {
    const others = [...this.#list.children].filter((other) => other !== element);
    const next = others.find((other) => y < middleOf(other)) ?? null;
    if (next !== element.nextElementSibling) this.#list.insertBefore(element, next);
  }

  /**
   * @param {Row} row
   * @param {KeyboardEvent} event
   */
  #onKey(row, event) {
    const { previousElementSibling: previous, nextElementSibling: next } = row.element;
    const isUp = event.key === "ArrowUp";
    if (!isUp && event.key !== "ArrowDown") return;
    event.preventDefault();
    if (isUp && previous) this.#onMove(row.guid, guidOf(previous));
    if (!isUp && next) this.#onMove(row.guid, guidOf(next.nextElementSibling));
    // A moved element loses the focus.
    row.handle.focus();
  }
}

/** @param {Element} element */
function middleOf(element) {
  const { top, height } = element.getBoundingClientRect();
  return top + height / 2;
}

/** @param {Element | null} element */
function guidOf(element) {
  return element?.getAttribute("data-guid") ?? null;
}
