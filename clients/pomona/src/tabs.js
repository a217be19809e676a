/**
 * Shares one poll among all tabs of a browser: one of them leads and polls, the others receive its answers.
 *
 * Owns the lead, the paths that each tab wants, and this tab's position. Promises: a tab applies answers in their
 * order, each starting where the one before it ended. Otherwise it asks for the missing ones, and gets a gap if no tab
 * has them any more. The next leader continues from its own position.
 * Source: README.md, Tabs.
 */

import { History } from "./history.js";

/** @import { Answer, PathReason } from "./answers.js" */
/** @import { Connector } from "./connector.js" */
/** @import { Poll } from "./core.js" */
/** @import { State } from "./poller.js" */
/** @import { Runtime } from "./runtime.js" */
/** @import { Locks } from "./locks.js" */
/** @import { Sharing } from "./sharing.js" */

/** A leader posts at least whenever a poll ends, every 25 s. After a longer silence it is asked. */
export const SILENCE_MS = 45_000;
/** Spreads the tabs' questions, and steals, over time. */
const SPREAD_MS = 5_000;
/** A leader that does not answer within this time is frozen. */
const ANSWER_MS = 3_000;

/**
 * @typedef {object} Lead The leader's report of itself.
 * @property {"lead"} kind
 * @property {string} position
 * @property {State} state
 * @property {string[]} confirmed
 * @property {Record<string, string[]>} wants
 * @property {string} [lost] The tab whose position no tab knows.
 *
 * @typedef {Lead | {kind: "want", paths: string[], asks: string[], isAsking: boolean, isAwake: boolean, watches:
 *   boolean} | {kind: "answer", from: string, answer: Answer, to?: string} | {kind: "need", after: string} | {kind:
 *   "state", state: State} | {kind: "refused" | "unconnected", refusal: PathReason} | {kind: "poll", record: Omit<Poll,
 *   "by">}} Body
 * @typedef {Body & {tab: string, term: number, since: number}} Message An answer with `to` is a repeat, for that tab
 *   alone. `since` is when its term began.
 *
 * @typedef {object} Listeners
 * @property {(position: string) => void} onLead Start to poll from this position, and connect the wanted paths.
 * @property {() => void} onFollow Stop polling.
 * @property {(answer: Answer) => void} onAnswer
 * @property {(lead: {position: string, confirmed: string[], isGap: boolean}) => void} onJoin This tab is now at the
 *   leader's position; with isGap it missed the updates before it.
 * @property {(state: State) => void} onState
 * @property {(refusal: PathReason, kind: "refused" | "unconnected") => void} onRefused
 * @property {(record: Omit<Poll, "by">) => void} onPoll
 * @property {() => void} onWake
 * @property {Pick<Connector, "want" | "unwant" | "confirmed">} connector Receives the wanted paths while this tab
 *   leads.
 * @property {() => State} getState
 */

export class Tabs {
  #runtime;
  #sharing;
  #name;
  #listeners;
  /** New for each stay: a frozen tab may still hold the locks of the last one. */
  #id = "";
  #history = new History();
  #term = 0;
  /** When the term began. Without Web Locks two tabs may begin one term; the first of them keeps it. */
  #since = 0;
  #isLeading = false;
  #needsUntil = 0;
  /** Another tab listens to `poll` events. */
  #isWatched = false;
  #watches = false;
  /** @type {Set<string>} */
  #own = new Set();
  /** The paths that each tab wants, this one included. @type {Map<string, Set<string>>} */
  #wants = new Map();
  /** The paths that this tab has requested since its last message. @type {Set<string> | null} */
  #asks = null;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** Ends the locks that this tab holds and waits for. */
  #stay = new AbortController();
  /** @type {AbortController | null} */
  #turn = null;
  /** @type {unknown} */
  #timer = null;

  /**
   * @param {Runtime} runtime
   * @param {Omit<Sharing, "locks"> & {locks: Locks}} sharing
   * @param {string} name Tabs of the same name share.
   * @param {Listeners} listeners
   */
  constructor(runtime, sharing, name, listeners) {
    this.#runtime = runtime;
    this.#sharing = sharing;
    this.#name = name;
    this.#listeners = listeners;
  }

  /** Join the others, at this tab's last position if it has one. */
  join() {
    const stay = new AbortController();
    this.#stay = stay;
    this.#id = this.#sharing.createId();
    this.#wants.set(this.#id, this.#own);
    this.#channel = this.#sharing.createChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    // Held while this tab exists: a tab that is granted it knows that this one is gone.
    const hold = () => {
      if (stay.signal.aborted) return;
      this.#apply();
      this.#ask();
      return new Promise((resolve) => stay.signal.addEventListener("abort", resolve));
    };
    this.#sharing.locks.request(`${this.#name}/${this.#id}`, { ifAvailable: true }, hold).catch(() => {
      if (stay.signal.aborted) return;
      // The others have assumed that it is gone, because it did not answer for long.
      if (this.#isLeading) this.#stepDown();
      this.leave();
      this.join();
    });
  }

  /** Leave the others, for good or until `join`. A leader hands over. */
  leave() {
    this.#stay.abort();
    this.#turn?.abort();
    this.#isLeading = false;
    this.#runtime.clearTimeout(this.#timer);
    this.#channel?.close();
    this.#channel = null;
    this.#wants.clear();
  }

  /** @param {string} path */
  want(path) {
    this.#own.add(path);
    this.#changed().add(path);
    if (this.#isLeading) this.#listeners.connector.want(path);
  }

  /** @param {string} path */
  unwant(path) {
    this.#own.delete(path);
    this.#changed().delete(path);
    if (this.#isLeading && !this.#isWanted(path)) this.#listeners.connector.unwant(path);
  }

  /** Ask the leader to report its polls. */
  watchPolls() {
    this.#watches = true;
    this.#changed();
  }

  /** Check whether there still is a leader, and wake it: this tab may have been suspended. */
  wake() {
    this.#ask(true);
  }

  /**
   * Share an answer to the leader's poll.
   *
   * @param {string} from
   * @param {Answer} answer
   */
  share(from, answer) {
    this.#history.add(answer);
    this.#post({ kind: "answer", from, answer });
  }

  /**
   * Share a change of the leader's state.
   *
   * @param {State} state
   */
  shareState(state) {
    if (this.#isLeading) this.#post({ kind: "state", state });
  }

  /** @param {PathReason} refusal @param {"refused" | "unconnected"} kind */
  shareRefusal(refusal, kind) {
    this.#post({ kind, refusal });
  }

  /** @param {Omit<Poll, "by">} record */
  sharePoll(record) {
    if (this.#isWatched) this.#post({ kind: "poll", record });
  }

  /** Return every path that some tab wants. */
  wanted() {
    return new Set([...this.#wants.values()].flatMap((paths) => [...paths]));
  }

  /** @param {string} path */
  #isWanted(path) {
    return [...this.#wants.values()].some((paths) => paths.has(path));
  }

  /** Post this tab's changes, once for each turn of the page. */
  #changed() {
    if (!this.#asks) {
      this.#asks = new Set();
      queueMicrotask(() => this.#postWants(false, false));
    }
    return this.#asks;
  }

  /**
   * @param {boolean} isAsking
   * @param {boolean} isAwake
   */
  #postWants(isAsking, isAwake) {
    const asks = [...(this.#asks ?? [])];
    this.#asks = null;
    this.#post({ kind: "want", paths: [...this.#own], asks, isAsking, isAwake, watches: this.#watches });
  }

  /** @param {Body} body */
  #post(body) {
    this.#channel?.postMessage({ ...body, tab: this.#id, term: this.#term, since: this.#since });
  }

  /** Request the lead, after the tabs that requested it before; with `steal`, at once. */
  #apply(steal = false) {
    this.#turn?.abort();
    const turn = new AbortController();
    this.#turn = turn;
    const lead = () => (turn.signal.aborted ? undefined : this.#lead(turn.signal));
    const options = steal ? { steal } : { signal: turn.signal };
    this.#sharing.locks.request(this.#name, options, lead).catch(() => {
      // This tab gave it up itself; otherwise it was stolen.
      if (turn.signal.aborted) return;
      turn.abort();
      this.#stepDown();
      this.#apply();
      this.#ask();
    });
  }

  #stepDown() {
    this.#isLeading = false;
    this.#listeners.onFollow();
  }

  /** @param {AbortSignal} signal */
  #lead(signal) {
    this.#isLeading = true;
    this.#term += 1;
    this.#since = this.#runtime.now();
    this.#runtime.clearTimeout(this.#timer);
    this.#postLead();
    this.#listeners.onLead(this.#history.position);
    for (const tab of this.#wants.keys()) this.#watch(tab);
    return new Promise((resolve) => signal.addEventListener("abort", resolve));
  }

  /** @param {string} [lost] */
  #postLead(lost) {
    const wants = Object.fromEntries([...this.#wants].map(([tab, paths]) => [tab, [...paths]]));
    const { connector, getState } = this.#listeners;
    const { position } = this.#history;
    const confirmed = connector.confirmed();
    this.#post({ kind: "lead", position, state: getState(), confirmed, wants, ...(lost ? { lost } : {}) });
  }

  /** Forget a tab's paths once it is gone. @param {string} tab */
  #watch(tab) {
    const { signal } = /** @type {AbortController} */ (this.#turn);
    if (tab === this.#id) return;
    const forget = () => {
      if (signal.aborted) return;
      const paths = this.#wants.get(tab) ?? [];
      this.#wants.delete(tab);
      for (const path of paths) if (!this.#isWanted(path)) this.#listeners.connector.unwant(path);
    };
    this.#sharing.locks.request(`${this.#name}/${tab}`, { signal }, forget).catch(() => {});
  }

  #ask(isAwake = false) {
    if (this.#isLeading || !this.#channel) return;
    this.#postWants(true, isAwake);
    this.#await(ANSWER_MS, () => this.#apply(true));
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} onSilence
   */
  #await(milliseconds, onSilence) {
    this.#runtime.clearTimeout(this.#timer);
    this.#timer = this.#runtime.setTimeout(onSilence, milliseconds);
  }

  /** @param {Message} message */
  #receive(message) {
    if (message.kind === "want") return this.#receiveWant(message);
    if (message.kind === "need") return this.#isLeading ? this.#help(message) : undefined;
    // From a tab that was frozen while it led, and does not know yet that it has lost the lead.
    const { term, since } = message;
    if (term < this.#term || (term === this.#term && since > this.#since)) return;
    if (this.#isLeading && (term > this.#term || since < this.#since)) {
      this.#stepDown();
      this.#apply();
    }
    this.#term = term;
    this.#since = since;
    if (!this.#isLeading) this.#await(SILENCE_MS + this.#runtime.random() * SPREAD_MS, () => this.#ask());
    if (message.kind === "answer") this.#receiveAnswer(message);
    else if (message.kind === "lead") this.#receiveLead(message);
    else if (message.kind === "state") this.#listeners.onState(message.state);
    else if (message.kind === "poll") this.#listeners.onPoll(message.record);
    else this.#listeners.onRefused(message.refusal, message.kind);
  }

  /** @param {Message & {kind: "want"}} message */
  #receiveWant({ tab, paths, asks, isAsking, isAwake, watches }) {
    const before = this.#wants.get(tab);
    this.#wants.set(tab, new Set(paths));
    this.#isWatched ||= watches;
    if (!this.#isLeading) return;
    if (!before) this.#watch(tab);
    const news = paths.filter((path) => asks.includes(path) || !before?.has(path));
    for (const path of news) this.#listeners.connector.want(path);
    for (const path of before ?? []) if (!this.#isWanted(path)) this.#listeners.connector.unwant(path);
    if (isAwake) this.#listeners.onWake();
    if (isAsking) this.#postLead();
  }

  /** @param {Message & {kind: "need"}} message */
  #help({ after, tab }) {
    if (this.#history.knows(after)) this.#repeat(after, tab);
    else this.#postLead(tab);
  }

  /**
   * @param {string} after
   * @param {string} to
   */
  #repeat(after, to) {
    for (const taken of this.#history.since(after)) {
      this.#post({ kind: "answer", from: taken.after, answer: taken.answer, to });
    }
  }

  /** @param {Message & {kind: "answer"}} message */
  #receiveAnswer({ from, answer, to }) {
    if (to && to !== this.#id) return;
    const history = this.#history;
    const follows = from === history.position;
    if (!follows && history.knows(answer.reconnectWith)) return;
    if (!follows && to) return;
    // From a position that this tab has passed: a repeat is better than a loss.
    if (!follows && from !== "" && !history.knows(from)) return this.#need();
    this.#needsUntil = 0;
    history.add(answer);
    this.#listeners.onAnswer(answer);
    if (this.#isLeading) this.#listeners.onLead(history.position);
  }

  /** @param {Message & {kind: "lead"}} lead */
  #receiveLead({ position, state, confirmed, wants, lost, tab }) {
    const history = this.#history;
    for (const [other, paths] of Object.entries(wants)) {
      if (other !== this.#id) this.#wants.set(other, new Set(paths));
    }
    this.#listeners.onState(state);
    if (String(wants[this.#id]?.sort()) !== String([...this.#own].sort())) this.#postWants(false, false);
    if (position === history.position || position === "") return;
    if (history.position === "" || lost === this.#id) {
      const isGap = history.position !== "";
      history.restart(position);
      this.#listeners.onJoin({ position, confirmed, isGap });
    } else if (history.knows(position)) this.#repeat(position, tab);
    else this.#need();
  }

  /** Ask for the missing answers; not again while a reply may be on its way. */
  #need() {
    const now = this.#runtime.now();
    if (now < this.#needsUntil) return;
    this.#needsUntil = now + ANSWER_MS;
    this.#post({ kind: "need", after: this.#history.position });
  }
}
