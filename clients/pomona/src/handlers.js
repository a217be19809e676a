/**
 * @typedef {string | ((path: string, message: string) => void)} Action A function, or the name of the target's method.
 * @typedef {{target: any, action: Action}} Handler
 */

/** The page's handlers, by path. */
export class Handlers {
  /** @type {Map<string, Handler[]>} */
  #byPath = new Map();
  #report;

  /** @param {(error: unknown) => void} report */
  constructor(report) {
    this.#report = report;
  }

  /**
   * Add a handler; the same target and action again change nothing.
   *
   * @param {string} path
   * @param {any} target
   * @param {Action} action
   * @returns {Handler | null} Null when it was there already.
   */
  add(path, target, action) {
    const handlers = this.#byPath.get(path) ?? [];
    if (handlers.some((handler) => handler.target === target && handler.action === action)) return null;
    const handler = { target, action };
    this.#byPath.set(path, [...handlers, handler]);
    return handler;
  }

  /**
   * Remove the handlers of a path that match; an undefined action matches each.
   *
   * @param {string} path
   * @param {any} target
   * @param {Action | undefined} action
   */
  remove(path, target, action) {
    const left = (this.#byPath.get(path) ?? []).filter(
      (handler) => action !== undefined && !(handler.target === target && handler.action === action),
    );
    if (left.length > 0) this.#byPath.set(path, left);
    else this.#byPath.delete(path);
  }

  /** Return the paths that have a handler. */
  paths() {
    return [...this.#byPath.keys()];
  }

  /** @param {string} path */
  has(path) {
    return this.#byPath.has(path);
  }

  /**
   * Call every handler of the path. An error of one is reported, and the others are still called.
   *
   * @param {string} path
   * @param {string} message
   */
  deliver(path, message) {
    for (const handler of this.#byPath.get(path) ?? []) this.call(handler, path, message);
  }

  /**
   * Call one handler, unless it has been removed meanwhile.
   *
   * @param {Handler} handler
   * @param {string} path
   * @param {string} message
   */
  call(handler, path, message) {
    if (!this.#byPath.get(path)?.includes(handler)) return;
    const { target, action } = handler;
    try {
      // A method is looked up at each call, as in 2009, because it may have been replaced.
      (typeof action === "string" ? target[action] : action).call(target, path, message);
    } catch (error) {
      this.#report(error);
    }
  }
}

/**
 * Return target and action of a call that may have left the target out.
 *
 * @param {any} target
 * @param {Action | undefined} action
 * @returns {[any, any]}
 */
export function readHandler(target, action) {
  return action === undefined ? [null, target] : [target, action];
}
