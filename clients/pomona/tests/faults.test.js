/** Whatever happens to tabs, each one that lives ends up with the server's list, having heard everything. */

import assert from "node:assert/strict";
import test from "node:test";

import { Browser } from "./browser.js";
import { ModelServer } from "./model_server.js";
import { settle } from "./world.js";

const SEEDS = Number(process.env["ROOTS_TEST_POMONA_SEEDS"] ?? 20);
const STEPS = 120;
const MAX_TABS = 5;

/** @typedef {import("./browser.js").Tab} Tab */

/** Numbers that look random and are the same for the same seed (a linear congruential generator). @param {number} seed */
function createRandom(seed) {
  let state = (seed * 2_654_435_761) >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

class Session {
  browser;
  server;
  /** @type {{tab: Tab, followed: import("../src/follow.js").Followed<any>, heard: number[], isHidden: boolean}[]} */
  pages = [];
  #random;

  /** @param {number} seed @param {boolean} hasLocks */
  constructor(seed, hasLocks) {
    this.browser = new Browser({ hasLocks });
    this.server = new ModelServer(this.browser.world);
    this.#random = createRandom(seed);
    this.browser.world.runtime = ((original) => () => ({ ...original(), random: this.#random }))(
      this.browser.world.runtime.bind(this.browser.world),
    );
  }

  async open() {
    const tab = await this.browser.open();
    const followed = tab.firenze.follow("tasks", {
      snapshot: () => tab.fetch("/list"),
      key: "key",
      version: "version",
    });
    /** @type {number[]} */
    const heard = [];
    const hear = (/** @type {string} */ _path, /** @type {string} */ message) => {
      if (message === "") heard.length = 0;
      else heard.push(JSON.parse(message).version - 1);
    };
    tab.firenze.connect("tasks", hear);
    // What was withdrawn stays so until the page asks again.
    tab.firenze.addEventListener("refused", () => tab.run(() => tab.firenze.connect("tasks", hear)));
    this.pages.push({ tab, followed, heard, isHidden: false });
  }

  async step() {
    const page = this.pages[Math.floor(this.#random() * this.pages.length)];
    /** @type {[number, () => unknown][]} */
    const choices = [
      [30, () => this.server.write(`${Math.floor(this.#random() * 6)}`, this.#random() < 0.3)],
      [30, () => this.server.answer(() => this.#random() < 0.7)],
      [12, () => this.browser.world.pass(this.#random() * 20_000)],
      [6, () => (this.pages.length < MAX_TABS ? this.open() : undefined)],
      [4, () => this.browser.world.open[0]?.fail()],
      [1, () => this.server.revoke(this.#random() < 0.5)],
    ];
    if (page) {
      choices.push(
        [2, () => this.#remove(page, () => page.tab.firenze.close())],
        [2, () => this.#remove(page, () => page.tab.crash())],
        [3, () => page.tab.freeze()],
        [3, () => page.tab.thaw()],
        [3, () => (page.isHidden = true) && page.tab.hide()],
        [3, () => this.#show(page)],
        [3, () => (page.tab.isDeaf = true)],
        [4, () => (page.tab.isDeaf = false)],
        [3, () => page.tab.look()],
      );
    }
    let left = this.#random() * choices.reduce((sum, [weight]) => sum + weight, 0);
    const choice = choices.find(([weight]) => (left -= weight) < 0);
    await choice?.[1]();
    await settle();
  }

  /** Let everything run again, and the server answer, until nothing is left to happen. */
  async calm() {
    for (const page of this.pages) {
      page.tab.isDeaf = false;
      await page.tab.thaw();
      await this.#show(page);
    }
    for (let round = 0; round < 60; round += 1) {
      await this.server.answer();
      await this.browser.world.pass(4_000);
    }
    this.server.write("last", false);
    for (let round = 0; round < 5; round += 1) await this.server.answer();
  }

  /** @param {Session["pages"][number]} page @param {() => unknown} end */
  #remove(page, end) {
    this.pages = this.pages.filter((other) => other !== page);
    return end();
  }

  /** @param {Session["pages"][number]} page */
  #show(page) {
    const wasHidden = page.isHidden;
    page.isHidden = false;
    return wasHidden ? page.tab.show() : undefined;
  }
}

for (const hasLocks of [true, false]) {
  const name = `every tab has the server's list and missed nothing, in ${SEEDS} sessions with faults`;
  test(`${name}, ${hasLocks ? "with" : "without"} Web Locks`, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const session = new Session(seed, hasLocks);
      await session.open();
      for (let step = 0; step < STEPS; step += 1) await session.step();
      if (session.pages.length === 0) await session.open();
      await session.calm();
      const { browser, server, pages } = session;
      assert.equal(browser.polls().length, 1, `seed ${seed}: polls`);
      for (const { followed, heard } of pages) {
        assert.deepEqual([...followed.items].sort(), [...server.items].sort(), `seed ${seed}: the list`);
        const distinct = [...new Set(heard)].sort((a, b) => a - b);
        const [first = server.length] = distinct;
        const expected = Array.from({ length: server.length - first }, (_, index) => first + index);
        assert.deepEqual(distinct, expected, `seed ${seed}: what was heard since the confirmation`);
      }
    }
  });
}
