/**
 * One poll for all tabs of a browser: one of them leads and polls, the others hear from it.
 *
 * Owns who leads, what each tab wants, and this tab's position. Promises: a tab takes in answers in their order, each
 * starting where the one before it ended; where that can't be, it asks for what it lacks, and if nobody has that any more it
 * is told. Whoever leads next goes on from its own position.
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

/** A leader says something at least as often as its polls end, 25 s; one that is silent for longer is asked. */
export const SILENCE_MS = 45_000;
/** Keeps many tabs from asking, and stealing, at one moment. */
const SPREAD_MS = 5_000;
/** A leader that does not answer for so long is frozen. */
const ANSWER_MS = 3_000;

/**
 * @typedef {object} Lead What the leader says of itself.
 * @property {"lead"} kind
 * @property {string} position
 * @property {State} state
 * @property {string[]} confirmed
 * @property {Record<string, string[]>} wants
 * @property {string} [lost] The tab whose position is known to nobody.
 *
 * @typedef {Lead
 *   | {kind: "want", paths: string[], asks: string[], isAsking: boolean, isAwake: boolean, watches: boolean}
 *   | {kind: "answer", from: string, answer: Answer, to?: string}
 *   | {kind: "need", after: string}
 *   | {kind: "state", state: State}
 *   | {kind: "refused" | "unconnected", refusal: PathReason}
 *   | {kind: "poll", record: Omit<Poll, "by">}} Body
 * @typedef {Body & {tab: string, term: number, since: number}} Message An answer with `to` is a repeat, for that tab alone;
 *   `since` is when its term began.
 *
 * @typedef {object} Listeners
 * @property {(position: string) => void} onLead Poll from here on, and connect what is wanted.
 * @property {() => void} onFollow Don't any more.
 * @property {(answer: Answer) => void} onAnswer
 * @property {(lead: {position: string, confirmed: string[], isGap: boolean}) => void} onJoin This tab is now where the
 *   leader is; with isGap it missed what was before.
 * @property {(state: State) => void} onState
 * @property {(refusal: PathReason, kind: "refused" | "unconnected") => void} onRefused
 * @property {(record: Omit<Poll, "by">) => void} onPoll
 * @property {() => void} onWake
 * @property {Pick<Connector, "want" | "unwant" | "confirmed">} connector Told of what the tabs want while this one leads.
 * @property {() => State} getState
 */

export class Tabs {
  #runtime;
  #sharing;
  #name;
  #listeners;
  /** A new one for each stay: locks of the one before may be held by a tab that is frozen. */
  #id = "";
  #history = new History();
  #term = 0;
  /** When the term began. Without Web Locks two tabs may begin one term, and the first of them has it. */
  #since = 0;
  #isLeading = false;
  #needyUntil = 0;
  /** Some other tab wants to see polls. */
  #isWatched = false;
  #watches = false;
  /** @type {Set<string>} */
  #own = new Set();
  /** What each tab wants, this one's too. @type {Map<string, Set<string>>} */
  #wants = new Map();
  /** What this tab has asked for since its last message. @type {Set<string> | null} */
  #asks = null;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** Ends what this tab holds and waits for. */
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

  /** Join the others, at the position where this tab was if it was there before. */
  join() {
    const stay = new AbortController();
    this.#stay = stay;
    this.#id = this.#sharing.createId();
    this.#wants.set(this.#id, this.#own);
    this.#channel = this.#sharing.createChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    // Held for as long as this tab is here: whoever is granted it knows that the tab is gone.
    const stand = () => {
      if (stay.signal.aborted) return;
      this.#apply();
      this.#ask();
      return new Promise((resolve) => stay.signal.addEventListener("abort", resolve));
    };
    this.#sharing.locks.request(`${this.#name}/${this.#id}`, { ifAvailable: true }, stand).catch(() => {
      if (stay.signal.aborted) return;
      // The others have taken it for gone, as it did not answer for long.
      if (this.#isLeading) this.#stepDown();
      this.leave();
      this.join();
    });
  }

  /** Leave the others, for good or until `join`; who leads hands over. */
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

  /** Have the leader tell of its polls. */
  watchPolls() {
    this.#watches = true;
    this.#changed();
  }

  /** This tab may have been away: find out whether there still is a leader, and wake it. */
  wake() {
    this.#ask(true);
  }

  /**
   * The leader's poll was answered.
   *
   * @param {string} from
   * @param {Answer} answer
   */
  share(from, answer) {
    this.#history.add(answer);
    this.#post({ kind: "answer", from, answer });
  }

  /**
   * The leader's state has changed.
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

  /** Tell the others of what changed, once for what the page does within one turn. */
  #changed() {
    if (!this.#asks) {
      this.#asks = new Set();
      queueMicrotask(() => this.#tellWants(false, false));
    }
    return this.#asks;
  }

  /**
   * @param {boolean} isAsking
   * @param {boolean} isAwake
   */
  #tellWants(isAsking, isAwake) {
    const asks = [...(this.#asks ?? [])];
    this.#asks = null;
    this.#post({ kind: "want", paths: [...this.#own], asks, isAsking, isAwake, watches: this.#watches });
  }

  /** @param {Body} body */
  #post(body) {
    this.#channel?.postMessage({ ...body, tab: this.#id, term: this.#term, since: this.#since });
  }

  /** Ask to lead, when those who asked before are gone; or instead of one that is frozen. */
  #apply(steal = false) {
    this.#turn?.abort();
    const turn = new AbortController();
    this.#turn = turn;
    const lead = () => (turn.signal.aborted ? undefined : this.#lead(turn.signal));
    const options = steal ? { steal } : { signal: turn.signal };
    this.#sharing.locks.request(this.#name, options, lead).catch(() => {
      // Given up by this tab itself; otherwise it was stolen.
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
    this.#tellLead();
    this.#listeners.onLead(this.#history.position);
    for (const tab of this.#wants.keys()) this.#watch(tab);
    return new Promise((resolve) => signal.addEventListener("abort", resolve));
  }

  /** @param {string} [lost] */
  #tellLead(lost) {
    const wants = Object.fromEntries([...this.#wants].map(([tab, paths]) => [tab, [...paths]]));
    const { connector, getState } = this.#listeners;
    const { position } = this.#history;
    const confirmed = connector.confirmed();
    this.#post({ kind: "lead", position, state: getState(), confirmed, wants, ...(lost ? { lost } : {}) });
  }

  /** Forget what a tab wants once it is gone. @param {string} tab */
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
    this.#tellWants(true, isAwake);
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
  #hear(message) {
    if (message.kind === "want") return this.#hearWant(message);
    if (message.kind === "need") return this.#isLeading ? this.#help(message) : undefined;
    // From a tab that was frozen while it led, and does not know yet that it leads no more.
    const { term, since } = message;
    if (term < this.#term || (term === this.#term && since > this.#since)) return;
    if (this.#isLeading && (term > this.#term || since < this.#since)) {
      this.#stepDown();
      this.#apply();
    }
    this.#term = term;
    this.#since = since;
    if (!this.#isLeading) this.#await(SILENCE_MS + this.#runtime.random() * SPREAD_MS, () => this.#ask());
    if (message.kind === "answer") this.#hearAnswer(message);
    else if (message.kind === "lead") this.#hearLead(message);
    else if (message.kind === "state") this.#listeners.onState(message.state);
    else if (message.kind === "poll") this.#listeners.onPoll(message.record);
    else this.#listeners.onRefused(message.refusal, message.kind);
  }

  /** @param {Message & {kind: "want"}} message */
  #hearWant({ tab, paths, asks, isAsking, isAwake, watches }) {
    const before = this.#wants.get(tab);
    this.#wants.set(tab, new Set(paths));
    this.#isWatched ||= watches;
    if (!this.#isLeading) return;
    if (!before) this.#watch(tab);
    const news = paths.filter((path) => asks.includes(path) || !before?.has(path));
    for (const path of news) this.#listeners.connector.want(path);
    for (const path of before ?? []) if (!this.#isWanted(path)) this.#listeners.connector.unwant(path);
    if (isAwake) this.#listeners.onWake();
    if (isAsking) this.#tellLead();
  }

  /** @param {Message & {kind: "need"}} message */
  #help({ after, tab }) {
    if (this.#history.knows(after)) this.#repeat(after, tab);
    else this.#tellLead(tab);
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
  #hearAnswer({ from, answer, to }) {
    if (to && to !== this.#id) return;
    const history = this.#history;
    const follows = from === history.position;
    if (!follows && history.knows(answer.reconnectWith)) return;
    if (!follows && to) return;
    // From a position that this tab has passed: better twice than not at all.
    if (!follows && from !== "" && !history.knows(from)) return this.#need();
    this.#needyUntil = 0;
    history.add(answer);
    this.#listeners.onAnswer(answer);
    if (this.#isLeading) this.#listeners.onLead(history.position);
  }

  /** @param {Message & {kind: "lead"}} lead */
  #hearLead({ position, state, confirmed, wants, lost, tab }) {
    const history = this.#history;
    for (const [other, paths] of Object.entries(wants)) {
      if (other !== this.#id) this.#wants.set(other, new Set(paths));
    }
    this.#listeners.onState(state);
    if (String(wants[this.#id]?.sort()) !== String([...this.#own].sort())) this.#tellWants(false, false);
    if (position === history.position || position === "") return;
    if (history.position === "" || lost === this.#id) {
      const isGap = history.position !== "";
      history.restart(position);
      this.#listeners.onJoin({ position, confirmed, isGap });
    } else if (history.knows(position)) this.#repeat(position, tab);
    else this.#need();
  }

  /** Ask for what this tab has missed; not again while help may be on its way. */
  #need() {
    const now = this.#runtime.now();
    if (now < this.#needyUntil) return;
    this.#needyUntil = now + ANSWER_MS;
    this.#post({ kind: "need", after: this.#history.position });
  }
}
