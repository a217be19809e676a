/**
 * Pomona's core: push for one page by long polling. firenze.js adds what many pages want.
 *
 * Connects the parts: the poll loop (poller.js), the paths that the server grants to the page (connector.js) and
 * the page's handlers (handlers.js).
 */

import { checkPath, readUid, WITHDRAWN_PATH } from "./answers.js";
import { Connector } from "./connector.js";
import { Credentials } from "./credentials.js";
import { Handlers, readHandler } from "./handlers.js";
import { Poller } from "./poller.js";
import { createRuntime, watchPage } from "./runtime.js";

/** @import { Answer, PathReason } from "./answers.js" */
/** @import { Action } from "./handlers.js" */
/** @import { Outcome, State } from "./poller.js" */
/** @import { Runtime } from "./runtime.js" */
/** @import { Share, Shareable } from "./sharing.js" */
/** @import { Tabs } from "./tabs.js" */

/** @typedef {import("./options.js").FirenzeEvents} FirenzeEvents */
/** @typedef {import("./options.js").Options} Options */
/** @typedef {import("./poller.js").Poll} Poll */

/** One connection from the server to the page. It starts to poll when it is created, and ends with `close()`. */
export class Firenze extends EventTarget {
  /** The clock, `fetch` and the page. @type {Runtime} */
  runtime;
  #settings;
  #share;
  #handlers;
  #credentials;
  #connector;
  #poller;
  /** Null while this tab polls for itself. @type {Tabs | null} */
  #tabs = null;
  #watch = new AbortController();
  /** @type {State} */
  #state = "connecting";
  /** The state of the polls alone. @type {State} */
  #polled = "connecting";
  /** @type {string | null} */
  #uid = null;
  #hadUid = false;
  #watchesPolls = false;
  /** The search for tabs to share with has ended. */
  #isReady = false;
  /** Frozen, or hidden and alone. */
  #isSuspended = false;

  /**
   * @param {Options} [options]
   * @param {Share} [share] Finds the tabs to share with.
   */
  constructor(options = {}, share) {
    super();
    this.#share = share;
    const settings = {
      connectUrl: "/server/connect/%@",
      disconnectUrl: "/server/disconnect/%@",
      host: "",
      port: 4020,
      protocol: "http",
      prefix: "comet/",
      shared: true,
      ...options,
    };
    const runtime = createRuntime(settings.runtime);
    this.runtime = runtime;
    this.#settings = settings;
    this.#handlers = new Handlers(runtime.report);
    this.#credentials = new Credentials(runtime, settings);
    this.#connector = new Connector(
      runtime,
      this.#credentials,
      { connect: settings.connectUrl, disconnect: settings.disconnectUrl },
      {
        onRefused: (refusal, kind) => {
          this.#tabs?.shareRefusal(refusal, kind);
          this.#emitFor(kind, refusal);
          this.#setState();
        },
        onUnknownUid: () => {
          this.#uid = null;
          this.#poller.restart();
        },
      },
    );
    this.#poller = new Poller(runtime, pollUrl(settings), {
      onState: (state) => this.#setState(state),
      onAnswer: (from, answer) => {
        this.#tabs?.share(from, answer);
        this.#accept(answer);
      },
      onPoll: (poll) => this.#reportPoll(poll),
    });
    // The caller first gets a turn to add listeners.
    queueMicrotask(() => this.#start());
  }

  /**
   * Make a Firenze the way SproutCore made its objects.
   *
   * @param {Options} [options]
   */
  static create(options) {
    return new this(options);
  }

  /**
   * The connection's state: connecting, live, unconnected (polls are answered, but a path is not connected),
   * waiting (for its next try), offline or closed.
   */
  get state() {
    return this.#state;
  }

  /** Return the uid that identifies this page to the server, or null when there is none yet. */
  getDoloresId() {
    return this.#uid;
  }

  /**
   * Call a handler with every message of a path, from its confirmation "" on.
   *
   * `connect(path, target, action)` calls `action`, a function or the name of the target's method, as
   * `action.call(target, path, message)`; `connect(path, fn)` has no target.
   * Errors: TypeError when `path` is invalid.
   *
   * @param {string} path
   * @param {any} target
   * @param {Action} [action]
   */
  connect(path, target, action) {
    checkPath(path);
    if (this.#isClosed()) return;
    const handler = this.#handlers.add(path, ...readHandler(target, action));
    (this.#tabs ?? this.#connector).want(path);
    // The server confirms a path once; later handlers get the confirmation here.
    if (handler && this.#connector.isConfirmed(path)) queueMicrotask(() => this.#handlers.call(handler, path, ""));
  }

  /**
   * Undo a `connect` with the same arguments; with a path alone, all of them. The last one disconnects the path.
   *
   * @param {string} path
   * @param {any} [target]
   * @param {Action} [action]
   */
  disconnect(path, target, action) {
    this.#handlers.remove(path, ...readHandler(target, action));
    if (!this.#handlers.has(path)) (this.#tabs ?? this.#connector).unwant(path);
    this.#setState();
  }

  /**
   * Call `handler(message, path)` with every message of a path, and return a function that ends it.
   *
   * `onConfirmed` is called when every later change will arrive, and again after each interruption that may have lost
   * some: load the path's state then. Errors: TypeError when `path` is invalid.
   *
   * @param {string} path
   * @param {(message: string, path: string) => void} handler
   * @param {{signal?: AbortSignal, onConfirmed?: (path: string) => void}} [options]
   * @returns {() => void}
   */
  subscribe(path, handler, { signal, onConfirmed } = {}) {
    // Each subscription has its own target: the same handler twice is two subscriptions.
    const target = {};
    const action = (/** @type {string} */ _path, /** @type {string} */ message) =>
      message === "" ? onConfirmed?.(path) : handler(message, path);
    const unsubscribe = () => {
      signal?.removeEventListener("abort", unsubscribe);
      this.disconnect(path, target, action);
    };
    if (signal?.aborted) return unsubscribe;
    this.connect(path, target, action);
    signal?.addEventListener("abort", unsubscribe);
    return unsubscribe;
  }

  /** Ask again for the paths that were refused or withdrawn: the user's rights have changed. */
  renew() {
    for (const path of this.#handlers.paths()) (this.#tabs ?? this.#connector).want(path);
  }

  /** End the connection for good. */
  close() {
    this.#tabs?.leave();
    this.#setState("closed");
    this.#watch.abort();
    this.#connector.close();
    this.#poller.stop();
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
    if (type !== "poll") return;
    this.#watchesPolls = true;
    this.#tabs?.watchPolls();
  }

  async #start() {
    const { page } = this.runtime;
    const listeners = {
      onWake: () => this.#wake(),
      onOffline: () => this.#poller.loseNetwork(),
      onHide: () => this.#isReady && this.#isHiddenAlone() && this.#suspend(),
      onFreeze: () => this.#suspend(),
      onThaw: () => {
        if (!this.#isSuspended) return this.#wake();
        this.#isSuspended = false;
        this.#begin();
      },
    };
    if (page) watchPage({ ...this.runtime, page }, listeners, this.#watch.signal);
    this.#tabs = (await this.#share?.(this.#shareable())) ?? null;
    this.renew();
    if (this.#watchesPolls) this.#tabs?.watchPolls();
    this.#isReady = true;
    this.#begin();
  }

  /** Start, or continue from the last position. */
  #begin() {
    if (!this.#isReady || this.#isSuspended || this.#isClosed()) return;
    if (this.#tabs) this.#tabs.join();
    else if (this.#isHiddenAlone()) this.#isSuspended = true;
    else this.#lead(this.#poller.position);
  }

  /** Whether the tab is hidden and can't share: its poll would take one of a browser's six connections to a server. */
  #isHiddenAlone() {
    return !this.#tabs && this.#settings.shared && this.runtime.page?.document.visibilityState === "hidden";
  }

  #suspend() {
    this.#isSuspended = true;
    this.#tabs?.leave();
    this.#rest();
    // The suspension may last long, and the connection may not survive it.
    this.#setState("connecting");
  }

  /** @returns {Shareable} */
  #shareable() {
    return {
      runtime: this.runtime,
      credentials: this.#credentials,
      settings: this.#settings,
      url: pollUrl(this.#settings),
      listeners: {
        connector: this.#connector,
        getState: () => this.#state,
        onLead: (position) => this.#lead(position),
        onFollow: () => this.#rest(),
        onAnswer: (answer) => this.#accept(answer),
        onJoin: (lead) => this.#join(lead),
        onState: (state) => this.#setState(state),
        onRefused: (refusal, kind) => {
          if (kind === "refused") this.#connector.markRefused(refusal.path);
          this.#emitFor(kind, refusal);
        },
        onPoll: (record) => this.#emit("poll", { ...record, by: "leader" }),
        onWake: () => this.#wake(),
      },
    };
  }

  /**
   * Poll, for this tab or for all.
   *
   * @param {string} position
   */
  #lead(position) {
    const isInDoubt = this.#state !== "live";
    if (isInDoubt) this.#setState("connecting");
    this.#connector.activate(this.#tabs?.wanted() ?? this.#handlers.paths());
    this.#poller.start(position, isInDoubt);
  }

  /** Stop polling: another tab leads, or the page is suspended. */
  #rest() {
    this.#poller.stop();
    this.#connector.rest();
  }

  /** @param {{position: string, confirmed: string[], isGap: boolean}} lead */
  #join({ position, confirmed, isGap }) {
    this.#takeUid(readUid(position), confirmed);
    for (const path of confirmed) {
      if (isGap) this.#emitFor("gap", { path, reason: "tab" });
      this.#handlers.deliver(path, "");
    }
  }

  #wake() {
    this.#tabs?.wake();
    this.#connector.wake();
    this.#poller.wake();
  }

  /** @param {Answer} answer */
  #accept(answer) {
    if (answer.uid !== this.#uid) this.#takeUid(answer.uid);
    for (const gap of answer.gaps) this.#emitFor("gap", gap);
    for (const { path, message, reason } of answer.updates) {
      if (this.#isClosed()) return;
      if (path === WITHDRAWN_PATH) this.#connector.withdraw(message, reason);
      else {
        if (message === "") this.#connector.confirm(path);
        this.#handlers.deliver(path, message);
      }
    }
    this.#connector.checkConfirmations();
    this.#setState();
  }

  /**
   * @param {string} uid
   * @param {string[]} [confirmed]
   */
  #takeUid(uid, confirmed) {
    const isReset = this.#hadUid && uid !== this.#uid;
    this.#uid = uid;
    this.#hadUid = true;
    this.#connector.useUid(uid, confirmed);
    if (isReset) this.#emit("reset", null);
  }

  /** @param {{startedAt: number, from: string, outcome: Outcome}} poll */
  #reportPoll({ startedAt, from, outcome }) {
    const { kind, status, answer } = outcome;
    const updates = answer?.updates.length ?? 0;
    const cursor = from.slice(from.indexOf("/") + 1);
    const record = { startedAt, endedAt: this.runtime.now(), status, outcome: kind, cursor, updates };
    this.#tabs?.sharePoll(record);
    if (this.#watchesPolls) this.#emit("poll", { ...record, by: "tab" });
  }

  #isClosed() {
    return this.#state === "closed";
  }

  /** @param {State} [polled] */
  #setState(polled = this.#polled) {
    const previous = this.#state;
    const state = polled === "live" && this.#connector.isUnconnected ? "unconnected" : polled;
    this.#polled = polled;
    if (state === previous || this.#isClosed()) return;
    this.#state = state;
    this.#tabs?.shareState(state);
    this.#emit("state", { state, previous });
  }

  /**
   * Emit an event about a path, unless only other tabs want it.
   *
   * @param {"gap" | "refused" | "unconnected"} type
   * @param {PathReason} detail
   */
  #emitFor(type, detail) {
    if (this.#handlers.has(detail.path)) this.#emit(type, detail);
  }

  /**
   * @param {keyof FirenzeEvents} type
   * @param {unknown} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {{host: string, port: number | string, protocol: string, prefix: string}} settings */
function pollUrl({ host, port, protocol, prefix }) {
  return `${host ? `${protocol}://${host}:${port}` : ""}/${prefix}`;
}
