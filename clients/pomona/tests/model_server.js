/** The services as the protocol describes them, in one small object: a log, grants, held polls, and the list itself. */

import { answer } from "./world.js";

/** @typedef {import("./world.js").Call} Call @typedef {import("./world.js").World} World */
const HOLD_MS = 25_000;

/** @typedef {{key: string, version: number, DELETE?: true}} Item */
/** @typedef {{since: number, from: number}} Grant */

export class ModelServer {
  /** @type {Map<string, Item>} */
  items = new Map();
  #world;
  /** @type {Item[]} */
  #log = [];
  #version = 0;
  #changes = 0;
  #uids = 0;
  /** What each uid may hear. @type {Map<string, Map<string, Grant>>} */
  #grants = new Map();
  /** What was taken from each, with the number of the change. @type {Map<string, Map<string, number>>} */
  #gone = new Map();

  /** @param {World} world */
  constructor(world) {
    this.#world = world;
  }

  /** How many events there were. */
  get length() {
    return this.#log.length;
  }

  /** Change an item, or delete it. @param {string} key @param {boolean} isDeleted */
  write(key, isDeleted) {
    if (isDeleted && !this.items.delete(key)) return;
    /** @type {Item} */
    const item = { key, version: ++this.#version, ...(isDeleted ? { DELETE: true } : {}) };
    if (!isDeleted) this.items.set(key, item);
    this.#log.push(item);
  }

  /** Withdraw everything of every uid, or forget them all. @param {boolean} isForgotten */
  revoke(isForgotten) {
    for (const [uid, grants] of this.#grants) {
      for (const path of grants.keys()) this.#withdraw(uid, path);
      if (isForgotten) this.#grants.delete(uid);
    }
  }

  /**
   * Answer every request that has an answer.
   *
   * @param {(call: Call) => boolean} [isDue] Whether this one is answered now.
   */
  async answer(isDue = () => true) {
    for (const call of [...this.#world.open]) {
      if (!isDue(call) || !this.#world.open.includes(call)) continue;
      const reply = this.#route(call);
      if (reply) await call.answer(...reply);
    }
  }

  /** @param {Call} call @returns {[unknown, number?] | null} */
  #route({ url, body, at }) {
    const [, first = "", second = "", third = ""] = url.split("/");
    if (first === "list") return [[...this.items.values()]];
    if (first === "comet") return second ? this.#poll(second, third, at) : [this.#begin()];
    if (!this.#grants.has(third)) return ["", 410];
    for (const path of body) second === "connect" ? this.#grant(third, path) : this.#withdraw(third, path);
    return [{ connected: body, refused: [] }];
  }

  #begin() {
    const uid = `uid${++this.#uids}`;
    this.#grants.set(uid, new Map());
    this.#gone.set(uid, new Map());
    return answer(`${uid}/${this.#log.length}.${this.#changes}`);
  }

  /** @param {string} uid @param {string} path */
  #grant(uid, path) {
    const grants = this.#grants.get(uid);
    this.#gone.get(uid)?.delete(path);
    grants?.set(path, { from: this.#log.length, ...grants.get(path), since: ++this.#changes });
  }

  /** @param {string} uid @param {string} path */
  #withdraw(uid, path) {
    if (this.#grants.get(uid)?.delete(path)) this.#gone.get(uid)?.set(path, ++this.#changes);
  }

  /**
   * Return the answer to a poll, null while it is held; of two polls of one uid the older is ended.
   *
   * @param {string} uid
   * @param {string} cursor
   * @param {number} at When it came.
   * @returns {[unknown] | null}
   */
  #poll(uid, cursor, at) {
    const grants = this.#grants.get(uid);
    if (!grants) return [this.#begin()];
    const [position = 0, known = 0] = cursor.split(".").map(Number);
    /** @type {[string, string][]} */
    const updates = [];
    for (const [path, since] of this.#gone.get(uid) ?? []) if (since > known) updates.push(["::+::disconnect", path]);
    for (const [path, { since }] of grants) if (since > known) updates.push([path, ""]);
    const start = Math.min(position, ...[...grants.values()].filter(({ since }) => since > known).map(({ from }) => from));
    for (let index = start; index < this.#log.length; index += 1) {
      for (const [path, { since, from }] of grants) {
        const begin = since > known && from < position ? from : Math.max(from, position);
        if (index >= begin) updates.push([path, JSON.stringify(this.#log[index])]);
      }
    }
    const polls = this.#world.open.filter(({ url }) => url.startsWith(`/comet/${uid}/`));
    const isOlder = polls.length > 1 && polls[0]?.url.endsWith(`/${cursor}`);
    const isOver = this.#world.now - at >= HOLD_MS;
    if (updates.length > 0 || isOver) return [answer(`${uid}/${this.#log.length}.${this.#changes}`, updates)];
    return isOlder ? [answer(`${uid}/${cursor}`)] : null;
  }
}
