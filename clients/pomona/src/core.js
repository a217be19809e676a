/**
 * Pomona's core: push for one page by long polling. firenze.js adds what many pages want.
 *
 * Owns nothing but the wiring: the poll loop (poller.js), what the server lets the page hear (connector.js) and who
 * on the page wants to hear it (handlers.js).
 */

import { checkPath, readUid, WITHDRAWN_PATH } from "./answers.js";
import { Connector } from "./connector.js";
import { Credentials } from "./credentials.js";
import { Handlers, readHandler } from "./handlers.js";
import { Poller } from "./poller.js";
import { createRuntime, watchPage } from "./runtime.js";

/** @import { Answer, PathReason } from "./answers.js" */
/** @import { GetToken } from "./credentials.js" */
/** @import { Action } from "./handlers.js" */
/** @import { Outcome, State } from "./poller.js" */
/** @import { Runtime } from "./runtime.js" */
/** @import { Share, Shareable } from "./sharing.js" */
/** @import { Tabs } from "./tabs.js" */

/**
 * @typedef {object} Options
 * @property {string} [connectUrl] Where to ask for paths; `%@` stands for the uid.
 * @property {string} [disconnectUrl] Where to give paths back.
 * @property {string} [host] The poll server's host; "" (the default) is the page's own origin.
 * @property {number | string} [port] The poll server's port, when `host` is given.
 * @property {string} [protocol] The poll server's protocol, when `host` is given.
 * @property {string} [prefix] Where the poll server is found on it.
 * @property {GetToken} [token] Returns the bearer token for requests to connect and disconnect.
 * @property {Record<string, string>} [headers] More headers for these requests.
 * @property {RequestCredentials} [credentials] Whether these requests carry cookies; "same-origin" by default.
 * @property {boolean | string} [shared] Whether tabs share one poll, true by default; a text: with tabs of that text only.
 *   False: this one polls for itself, hidden or not.
 * @property {Partial<Runtime>} [runtime] Replaces parts of the world, for tests.
 */

/** @typedef {import("./poller.js").Poll} Poll */

/**
 * @typedef {object} FirenzeEvents
 * @property {CustomEvent<{state: State, previous: State}>} state The connection's state has changed.
 * @property {CustomEvent<PathReason>} gap Updates of a path were lost: load anew what it speaks of.
 * @property {CustomEvent<PathReason>} refused A path can't be heard, or (reason "withdrawn") no longer.
 * @property {CustomEvent<PathReason>} unconnected A path is not heard yet: requests to connect it get no answer (reason
 *   "unreachable"), an error that may pass ("status 503"), or success without a confirmation ("unconfirmed").
 * @property {CustomEvent<null>} reset The uid has changed. All paths are being connected again.
 * @property {CustomEvent<Poll>} poll A poll has ended, of this tab or of the one that polls for it.
 */

/** One connection from the server to the page. It begins to poll when it is made, and ends with `close()`. */
export class Firenze extends EventTarget {
  /** What it takes from the world around it. @type {Runtime} */
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
  /** It is known whether tabs share. */
  #isReady = false;
  /** Frozen, or hidden and alone. */
  #isAside = false;

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
      onPoll: (poll) => this.#tellPoll(poll),
    });
    // Not before the caller has had its turn to add listeners.
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
   * The connection's state: connecting, live, unconnected (polls are answered, but a path is not heard), waiting (for its
   * next try), offline or closed.
   */
  get state() {
    return this.#state;
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
    if (this.#isClosed()) return;
    const handler = this.#handlers.add(path, ...readHandler(target, action));
    (this.#tabs ?? this.#connector).want(path);
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
    if (!this.#handlers.has(path)) (this.#tabs ?? this.#connector).unwant(path);
    this.#setState();
  }

  /**
   * Call `handler(message, path)` with every message of a path, and return a function that ends that.
   *
   * `onConfirmed` is called when every change from there on will come, again after each interruption that may have lost
   * some: load what the path speaks of then. Errors: TypeError when `path` is none.
   *
   * @param {string} path
   * @param {(message: string, path: string) => void} handler
   * @param {{signal?: AbortSignal, onConfirmed?: (path: string) => void}} [options]
   * @returns {() => void}
   */
  subscribe(path, handler, { signal, onConfirmed } = {}) {
    // A target of its own: the same handler twice is two subscriptions.
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
      onHide: () => this.#isReady && this.#isUnseen() && this.#putAside(),
      onFreeze: () => this.#putAside(),
      onThaw: () => {
        if (!this.#isAside) return this.#wake();
        this.#isAside = false;
        this.#begin();
      },
    };
    if (page) watchPage({ ...this.runtime, page }, listeners, this.#watch.signal);
    const tabs = await this.#share?.(this.#shareable());
    for (const path of this.#handlers.paths()) tabs?.want(path);
    if (this.#watchesPolls) tabs?.watchPolls();
    this.#tabs = tabs ?? null;
    this.#isReady = true;
    this.#begin();
  }

  /** Begin, or go on where it was. */
  #begin() {
    if (!this.#isReady || this.#isAside || this.#isClosed()) return;
    if (this.#tabs) this.#tabs.join();
    else if (this.#isUnseen()) this.#isAside = true;
    else this.#lead(this.#poller.position);
  }

  /** Hidden, and its poll takes one of the six connections that all tabs of a browser have to an HTTP/1.1 server. */
  #isUnseen() {
    return !this.#tabs && this.#settings.shared && this.runtime.page?.document.visibilityState === "hidden";
  }

  #putAside() {
    this.#isAside = true;
    this.#tabs?.leave();
    this.#rest();
    // Nobody knows how long that takes, and what is left of the connection then.
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

  /** Leave the polling to another tab, or until the page is back. */
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
    for (const { path, message } of answer.updates) {
      if (this.#isClosed()) return;
      if (path === WITHDRAWN_PATH) this.#connector.withdraw(message);
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
  #tellPoll({ startedAt, from, outcome }) {
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
    const state = polled === "live" && this.#connector.isUnheard ? "unconnected" : polled;
    this.#polled = polled;
    if (state === previous || this.#isClosed()) return;
    this.#state = state;
    this.#tabs?.shareState(state);
    this.#emit("state", { state, previous });
  }

  /**
   * Tell of a path, unless only other tabs want it.
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
