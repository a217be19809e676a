/**
 * Pomona: push for web pages by long polling. This is the whole public API.
 *
 * Owns nothing but the wiring: the poll loop (poller.js), what the server lets the page hear (connector.js) and who
 * on the page wants to hear it (handlers.js).
 */

import { checkPath, WITHDRAWN_PATH } from "./answers.js";
import { Connector } from "./connector.js";
import { Handlers } from "./handlers.js";
import { Poller } from "./poller.js";
import { createRuntime, watchPage } from "./runtime.js";

/** @import { Answer, PathReason } from "./answers.js" */
/** @import { Action } from "./handlers.js" */
/** @import { State } from "./poller.js" */
/** @import { Runtime } from "./runtime.js" */

/**
 * @typedef {object} Options
 * @property {string} [connectUrl] Where to ask for paths; `%@` stands for the uid.
 * @property {string} [disconnectUrl] Where to give paths back.
 * @property {string} [host] The poll server's host; "" (the default) is the page's own origin.
 * @property {number | string} [port] The poll server's port, when `host` is given.
 * @property {string} [protocol] The poll server's protocol, when `host` is given.
 * @property {string} [prefix] Where the poll server is found on it.
 * @property {Partial<Runtime>} [runtime] Replaces parts of the world, for tests.
 */

/**
 * @typedef {object} FirenzeEvents
 * @property {CustomEvent<{state: State, previous: State}>} state The connection's state has changed.
 * @property {CustomEvent<PathReason>} gap Updates of a path were lost: load anew what it speaks of.
 * @property {CustomEvent<PathReason>} refused A path can't be heard, or (reason "withdrawn") no longer.
 * @property {CustomEvent<null>} reset The uid has changed. All paths are being connected again.
 */

/** One connection from the server to the page. It begins to poll when it is made, and ends with `close()`. */
export class Firenze extends EventTarget {
  #runtime;
  #handlers;
  #connector;
  #poller;
  #watch = new AbortController();
  /** @type {string | null} */
  #uid = null;
  #hadUid = false;

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    const settings = {
      connectUrl: "/server/connect/%@",
      disconnectUrl: "/server/disconnect/%@",
      host: "",
      port: 4020,
      protocol: "http",
      prefix: "comet/",
      ...options,
    };
    const runtime = createRuntime(settings.runtime);
    this.#runtime = runtime;
    this.#handlers = new Handlers(runtime.report);
    this.#connector = new Connector(
      runtime,
      { connect: settings.connectUrl, disconnect: settings.disconnectUrl },
      { onRefused: (refusal) => this.#emit("refused", refusal), onUnknownUid: () => this.#beginAnew() },
    );
    this.#poller = new Poller(runtime, pollUrl(settings), {
      onState: (state, previous) => this.#emit("state", { state, previous }),
      onAnswer: (answer) => this.#accept(answer),
    });
    this.#start();
  }

  /**
   * Make a Firenze the way SproutCore made its objects.
   *
   * @param {Options} [options]
   */
  static create(options) {
    return new this(options);
  }

  /** The connection's state: connecting, live, waiting (for its next try), offline or closed. */
  get state() {
    return this.#poller.state;
  }

  /** Return the uid by which the server knows this page, or null when there is none yet. */
  getDoloresId() {
    return this.#uid;
  }

  /**
   * Call a handler with every message of a path, from its confirmation "" on.
   *
   * `connect(path, target, action)` calls `action`, a function or the name of the target's method, as
   * `action.call(target, path, message)`; `connect(path, fn)` does without a target.
   * Errors: TypeError when `path` is none.
   *
   * @param {string} path
   * @param {any} target
   * @param {Action} [action]
   */
  connect(path, target, action) {
    checkPath(path);
    if (this.state === "closed") return;
    const handler = this.#handlers.add(path, ...readHandler(target, action));
    this.#connector.want(path);
    // The server confirms a path once; whoever joins later is told here.
    if (handler && this.#connector.isConfirmed(path)) queueMicrotask(() => this.#handlers.call(handler, path, ""));
  }

  /**
   * Undo a `connect` with the same arguments; with a path alone, all of them. The last one gives the path back.
   *
   * @param {string} path
   * @param {any} [target]
   * @param {Action} [action]
   */
  disconnect(path, target, action) {
    this.#handlers.remove(path, ...readHandler(target, action));
    if (!this.#handlers.has(path)) this.#connector.unwant(path);
  }

  /** End the connection for good. */
  close() {
    this.#watch.abort();
    this.#connector.close();
    this.#poller.close();
  }

  /**
   * Listen to an event, here with the types of FirenzeEvents.
   *
   * @template {keyof FirenzeEvents} Type
   * @param {Type} type
   * @param {((event: FirenzeEvents[Type]) => void) | EventListenerObject | null} listener
   * @param {AddEventListenerOptions | boolean} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListenerOrEventListenerObject | null} */ (listener), options);
  }

  #start() {
    const { page } = this.#runtime;
    if (page) {
      const onWake = () => this.#wake();
      watchPage(page, { onWake, onOffline: () => this.#poller.loseNetwork() }, this.#watch.signal);
    }
    // Not before the caller has had its turn to add listeners.
    queueMicrotask(() => this.#poller.run());
  }

  #wake() {
    this.#connector.wake();
    this.#poller.wake();
  }

  #beginAnew() {
    this.#uid = null;
    this.#poller.restart();
  }

  /** @param {Answer} answer */
  #accept(answer) {
    if (answer.uid !== this.#uid) this.#takeUid(answer.uid);
    for (const gap of answer.gaps) this.#emit("gap", gap);
    for (const { path, message } of answer.updates) {
      if (this.state === "closed") return;
      if (path === WITHDRAWN_PATH) this.#connector.withdraw(message);
      else this.#deliver(path, message);
    }
  }

  /** @param {string} uid */
  #takeUid(uid) {
    this.#uid = uid;
    this.#connector.useUid(uid);
    if (this.#hadUid) this.#emit("reset", null);
    this.#hadUid = true;
  }

  /**
   * @param {string} path
   * @param {string} message
   */
  #deliver(path, message) {
    if (message === "") this.#connector.confirm(path);
    this.#handlers.deliver(path, message);
  }

  /**
   * @param {keyof FirenzeEvents} type
   * @param {unknown} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Return target and action of a call that may have left the target out.
 *
 * @param {any} target
 * @param {Action | undefined} action
 * @returns {[any, any]}
 */
function readHandler(target, action) {
  return action === undefined ? [null, target] : [target, action];
}

/** @param {{host: string, port: number | string, protocol: string, prefix: string}} settings */
function pollUrl({ host, port, protocol, prefix }) {
  return `${host ? `${protocol}://${host}:${port}` : ""}/${prefix}`;
}
