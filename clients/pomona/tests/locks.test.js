/** Tabs of a page that came over plain http: no Web Locks, and one poll all the same. */

import assert from "node:assert/strict";
import test from "node:test";

import { Browser } from "./browser.js";
import { answer, goLive, record, settle } from "./world.js";

/** A tab that finds nobody before it leads within this. */
const BEGUN_MS = 600;
/** After a crash the next one leads within this. */
const CRASHED_MS = 6_000;
/** What was given back is taken within this. */
const FREED_MS = 50;

/** Open tabs without Web Locks, the first of which leads and holds its poll at a.1.1. @param {number} count */
async function openLive(count) {
  const browser = new Browser({ hasLocks: false });
  const heard = [await openOne(browser)];
  await browser.world.pass(BEGUN_MS);
  await goLive(browser.world, ["tasks"]);
  while (heard.length < count) heard.push(await openOne(browser));
  await browser.world.pass(BEGUN_MS);
  return { browser, world: browser.world, tabs: browser.tabs, heard };
}

/** @param {Browser} browser */
async function openOne(browser) {
  const { firenze } = await browser.open();
  /** @type {string[]} */
  const messages = [];
  firenze.connect("tasks", (/** @type {string} */ _path, /** @type {string} */ message) => messages.push(message));
  await settle();
  return messages;
}

/** @param {Browser} browser @param {string} cursor @param {string} message */
async function say(browser, cursor, message) {
  const [poll] = browser.polls().slice(-1);
  await poll?.answer(answer(`uid1/${cursor}`, [["tasks", message]]));
}

test("eight tabs hold one poll, connect once, and all hear everything", async () => {
  const { browser, world, heard } = await openLive(8);
  await say(browser, "a.2.1", "one");
  await world.pass(20_000);
  assert.equal(browser.polls().length, 1);
  assert.deepEqual(heard, Array(8).fill(["", "one"]));
  assert.equal(world.log.filter((line) => line.startsWith("POST")).length, 1);
});

test("tabs that are opened at one moment end up with one poll", async () => {
  const browser = new Browser({ hasLocks: false });
  await Promise.all(Array.from({ length: 7 }, () => browser.open()));
  await browser.world.pass(BEGUN_MS + 100);
  assert.equal(browser.polls().length, 1);
});

test("the next tab goes on at once when the one that leads closes", async () => {
  const { browser, world, tabs, heard } = await openLive(3);
  const events = tabs.slice(1).map(({ firenze }) => record(firenze, "reset", "gap"));
  tabs[0]?.firenze.close();
  await world.pass(FREED_MS);
  assert.deepEqual(browser.polls().map(({ url }) => url), ["/comet/uid1/a.1.1"]);
  await say(browser, "a.2.1", "one");
  await world.pass(FREED_MS);
  assert.deepEqual([heard.slice(1), events], [Array(2).fill(["", "one"]), [[], []]]);
});

test("a tab goes on within seconds when the one that leads crashes", async () => {
  const { browser, world, tabs, heard } = await openLive(3);
  await tabs[0]?.crash();
  await world.pass(CRASHED_MS);
  assert.deepEqual(browser.polls().map(({ url }) => url), ["/comet/uid1/a.1.1"]);
  await say(browser, "a.2.1", "one");
  assert.deepEqual(heard.slice(1), Array(2).fill(["", "one"]));
});

test("a page that is frozen hands the lead over, and catches up when it is back", async () => {
  const { browser, world, tabs, heard } = await openLive(2);
  await tabs[0]?.hide();
  await world.pass(FREED_MS);
  await say(browser, "a.2.1", "one");
  await tabs[0]?.show();
  await world.pass(BEGUN_MS);
  assert.deepEqual([heard, browser.polls().length], [Array(2).fill(["", "one"]), 1]);
});

test("a tab that hangs while it leads is replaced, and follows once it goes on", async () => {
  const { browser, world, tabs, heard } = await openLive(3);
  tabs[0]?.freeze();
  await world.pass(CRASHED_MS);
  await say(browser, "a.2.1", "one");
  await tabs[0]?.thaw();
  await world.pass(CRASHED_MS);
  assert.deepEqual([heard, browser.polls().length], [Array(3).fill(["", "one"]), 1]);
});

test("a tab that hangs while it follows is heard again once it goes on", async () => {
  const { browser, world, tabs } = await openLive(2);
  /** @type {string[]} */
  const messages = [];
  const follower = /** @type {import("./browser.js").Tab} */ (tabs[1]);
  follower.firenze.subscribe("users/7", (message) => messages.push(message));
  await (await world.request("/connect/")).answer({ connected: ["users/7"], refused: [] });
  follower.freeze();
  await world.pass(CRASHED_MS);
  await (await world.request("/disconnect/")).answer({});
  await follower.thaw();
  await world.pass(BEGUN_MS);
  await (await world.request("/connect/")).answer({ connected: ["users/7"], refused: [] });
  await browser.polls()[0]?.answer(answer("uid1/a.2.3", [["users/7", ""], ["users/7", "one"]]));
  assert.deepEqual([messages, browser.polls().length], [["one"], 1]);
});

test("of two tabs that lead since one was too busy to answer, the one that led before stays", async () => {
  const { browser, world, tabs, heard } = await openLive(2);
  const events = tabs.map(({ firenze }) => record(firenze, "reset", "gap"));
  for (const tab of tabs) tab.isDeaf = true;
  const late = await openOne(browser);
  await world.pass(BEGUN_MS);
  assert.equal(browser.polls().length, 2);
  for (const tab of tabs) tab.isDeaf = false;
  const second = browser.polls().find(({ url }) => url === "/comet/");
  await second?.answer(answer("uid2/a.1.0"));
  await world.pass(CRASHED_MS);
  assert.deepEqual(browser.polls().map(({ url }) => url), ["/comet/uid1/a.1.1"]);
  await say(browser, "a.2.1", "one");
  assert.deepEqual([heard, late.at(-1), events], [Array(2).fill(["", "one"]), "one", [[], []]]);
});

test("a path is given back when the last tab that wants it has crashed", async () => {
  const { world, tabs } = await openLive(2);
  tabs[1]?.firenze.subscribe("users/7", () => {});
  await (await world.request("/connect/")).answer({ connected: ["users/7"], refused: [] });
  await tabs[1]?.crash();
  await world.pass(CRASHED_MS);
  assert.deepEqual((await world.request("/disconnect/")).body, ["users/7"]);
});

test("tabs that wait say little to each other", async () => {
  const { browser, world } = await openLive(7);
  const before = browser.messages;
  await world.pass(60_000);
  assert.ok(browser.messages - before < 400, `${browser.messages - before} messages in a minute`);
});
