/** Tabs: one poll for all of them, whoever of them lives. */

import assert from "node:assert/strict";
import test from "node:test";

import { Browser } from "./browser.js";
import { answer, goLive, record, settle } from "./world.js";

const SILENCE_MS = 45_000 + 2_500;
const ANSWER_MS = 3_000;

/**
 * Have a tab hear a path, and return what it has heard.
 *
 * @param {import("./browser.js").Tab} tab
 * @param {string} [path]
 */
function hear({ firenze }, path = "tasks") {
  /** @type {string[]} */
  const messages = [];
  firenze.connect(path, (/** @type {string} */ _path, /** @type {string} */ message) => messages.push(message));
  return messages;
}

/** Open tabs that all hear `tasks`; the first of them leads and holds its poll at a.1.1. @param {number} count */
async function openLive(count) {
  const browser = new Browser();
  const [first] = [await browser.open()];
  const heard = [hear(first)];
  await goLive(browser.world, ["tasks"]);
  const tabs = [first];
  for (let number = 1; number < count; number += 1) {
    const tab = await browser.open();
    tabs.push(tab);
    heard.push(hear(tab));
    await settle();
  }
  return { browser, world: browser.world, tabs, heard };
}

/**
 * Answer the held poll.
 *
 * @param {Browser} browser
 * @param {string} cursor
 * @param {string[]} messages
 */
async function say(browser, cursor, ...messages) {
  const poll = await browser.world.request("/comet/");
  await poll.answer(
    answer(
      `uid1/${cursor}`,
      messages.map((message) => ["tasks", message]),
    ),
  );
}

test("eight tabs hold one poll and all hear everything", async () => {
  const { browser, heard } = await openLive(8);
  await say(browser, "a.2.1", "one", "two");
  assert.equal(browser.polls().length, 1);
  assert.deepEqual(heard, Array(8).fill(["", "one", "two"]));
});

test("a tab that joins is told of a path that is confirmed, and goes on from there", async () => {
  const { browser, tabs, heard, world } = await openLive(2);
  assert.deepEqual(heard[1], [""]);
  assert.equal(world.log.filter((line) => line.startsWith("POST")).length, 1);
  assert.deepEqual(
    tabs.map(({ firenze }) => [firenze.state, firenze.getDoloresId()]),
    Array(2).fill(["live", "uid1"]),
  );
  await say(browser, "a.2.1", "one");
  assert.deepEqual(heard[1], ["", "one"]);
});

test("a path that only another tab wants is connected by the one that leads", async () => {
  const { browser, tabs, world } = await openLive(2);
  const messages = hear(/** @type {any} */ (tabs[1]), "users/7");
  const request = await world.request("/connect/");
  assert.deepEqual([request.url, request.body], ["/tasks/connect/uid1", ["users/7"]]);
  await request.answer({ connected: ["users/7"], refused: [] });
  const poll = await world.request("/comet/");
  await poll.answer(answer("uid1/a.1.2", [["users/7", ""], ["users/7", "hello"]]));
  assert.deepEqual([messages, browser.polls().length], [["", "hello"], 1]);
});

test("a path is given back when the last tab that wants it is gone, whether it closed or crashed", async () => {
  const { tabs, world } = await openLive(3);
  const [, second, third] = /** @type {import("./browser.js").Tab[]} */ (tabs);
  for (const tab of [second, third]) hear(/** @type {any} */ (tab), "users/7");
  await (await world.request("/connect/")).answer({ connected: ["users/7"], refused: [] });
  second?.firenze.close();
  await settle();
  assert.equal(world.open.length, 1);
  await third?.crash();
  assert.deepEqual((await world.request("/disconnect/")).body, ["users/7"]);
});

test("the next tab goes on from its position when the one that leads closes", async () => {
  const { browser, tabs, heard } = await openLive(3);
  const events = record(/** @type {any} */ (tabs[1]).firenze, "state", "reset", "gap");
  await say(browser, "a.2.1", "one");
  tabs[0]?.firenze.close();
  assert.equal((await browser.world.request("/comet/")).url, "/comet/uid1/a.2.1");
  await say(browser, "a.3.1", "two");
  assert.deepEqual(heard.slice(1), Array(2).fill(["", "one", "two"]));
  assert.deepEqual([events, tabs[1]?.firenze.state], [[], "live"]);
});

test("the next tab goes on from its position when the one that leads crashes", async () => {
  const { browser, tabs, heard } = await openLive(2);
  await say(browser, "a.2.1", "one");
  await tabs[0]?.crash();
  assert.equal((await browser.world.request("/comet/")).url, "/comet/uid1/a.2.1");
  await say(browser, "a.3.1", "two");
  assert.deepEqual(heard[1], ["", "one", "two"]);
});

test("a frozen tab is robbed of the lead when somebody looks at another, and follows once it is thawed", async () => {
  const { browser, world, tabs, heard } = await openLive(3);
  const [first, second] = /** @type {[any, any]} */ (tabs);
  first.freeze();
  await second.look();
  await world.pass(ANSWER_MS - 1);
  assert.equal(browser.polls().length, 1);
  await world.pass(1);
  await say({ .../** @type {any} */ (browser), world: lastPollOnly(browser) }, "a.2.1", "one");
  assert.deepEqual(heard.slice(1), Array(2).fill(["", "one"]));
  await first.thaw();
  await settle();
  assert.deepEqual([heard[0], browser.polls().length], [["", "one"], 1]);
  await say(browser, "a.3.1", "two");
  assert.deepEqual(heard, Array(3).fill(["", "one", "two"]));
});

/**
 * The frozen tab's own request is still open beside the new one.
 *
 * @param {Browser} browser
 * @returns {any}
 */
function lastPollOnly(browser) {
  return { request: async () => browser.polls().at(-1) };
}

test("a frozen tab is robbed of the lead after 45 s of silence when nobody looks", async () => {
  const { browser, world, tabs, heard } = await openLive(2);
  tabs[0]?.freeze();
  await world.pass(SILENCE_MS + ANSWER_MS - 1);
  assert.equal(browser.polls().length, 1);
  await world.pass(1);
  const poll = browser.polls().at(-1);
  assert.equal(poll?.url, "/comet/uid1/a.1.1");
  await poll?.answer(answer("uid1/a.2.1", [["tasks", "one"]]));
  assert.deepEqual(heard[1], ["", "one"]);
});

test("a tab that leads and waits long is not robbed, since it answers when asked", async () => {
  const { browser, world } = await openLive(2);
  await (await world.request("/comet/")).answer("", 503, { "Retry-After": "200" });
  await world.pass(199_000);
  assert.equal(browser.polls().length, 0);
});

test("many tabs that miss the one that leads end up with one poll", async () => {
  const { browser, world, tabs } = await openLive(6);
  tabs[0]?.freeze();
  for (const tab of tabs.slice(1)) void tab.look();
  await world.pass(ANSWER_MS);
  await tabs[0]?.thaw();
  await world.pass(1_000);
  assert.equal(browser.polls().length, 1);
});

test("a tab that missed answers is given them in their order", async () => {
  const { browser, tabs, heard } = await openLive(2);
  const second = /** @type {any} */ (tabs[1]);
  second.isDeaf = true;
  await say(browser, "a.2.1", "one");
  await say(browser, "a.3.1", "two");
  second.isDeaf = false;
  await say(browser, "a.4.1", "three");
  assert.deepEqual(heard[1], ["", "one", "two", "three"]);
});

test("a tab that missed more than the others keep is told of a gap, and confirmed anew", async () => {
  const { browser, tabs, heard } = await openLive(2);
  const second = /** @type {any} */ (tabs[1]);
  const events = record(second.firenze, "gap");
  second.isDeaf = true;
  for (let number = 2; number < 30; number += 1) await say(browser, `a.${number}.1`, `${number}`);
  second.isDeaf = false;
  await say(browser, "a.30.1", "30");
  await say(browser, "a.31.1", "31");
  assert.deepEqual(heard[1], ["", "", "31"]);
  assert.deepEqual(events, [["gap", { path: "tasks", reason: "tab" }]]);
});

test("a tab that leads from an older position is given what another has heard beyond it", async () => {
  const { browser, world, tabs, heard } = await openLive(3);
  const second = /** @type {any} */ (tabs[1]);
  second.isDeaf = true;
  await say(browser, "a.2.1", "one");
  second.isDeaf = false;
  await tabs[0]?.crash();
  await settle();
  assert.deepEqual(heard[1], ["", "one"]);
  assert.equal((await world.request("/comet/")).url, "/comet/uid1/a.2.1");
  await say(browser, "a.3.1", "two");
  assert.deepEqual(heard.slice(1), Array(2).fill(["", "one", "two"]));
});

test("a new uid resets every tab, and their paths are connected again in one request", async () => {
  const { browser, world, tabs } = await openLive(2);
  const events = tabs.map(({ firenze }) => record(firenze, "reset"));
  hear(/** @type {any} */ (tabs[1]), "users/7");
  await (await world.request("/connect/")).answer({ connected: ["users/7"], refused: [] });
  await (await world.request("/comet/")).answer(answer("uid2/b.1.0"));
  assert.deepEqual((await world.request("/connect/")).body.sort(), ["tasks", "users/7"]);
  assert.deepEqual([events, browser.polls().length], [Array(2).fill([["reset", null]]), 1]);
});

test("the tab that leads asks again when another one renews", async () => {
  const { browser, world, tabs } = await openLive(2);
  const follower = /** @type {any} */ (tabs[1]);
  const events = record(follower.firenze, "refused");
  hear(follower, "rooms/1");
  await (await world.request("/connect/")).answer({ refused: [{ path: "rooms/1", reason: "policy" }] }, 403);
  await settle();
  follower.firenze.renew();
  const request = await world.request("/connect/");
  assert.deepEqual([request.body, events.length, browser.polls().length], [["rooms/1"], 1, 1]);
});

test("a refusal is told in the tab that asked, and asked for again when it asks again", async () => {
  const { world, tabs } = await openLive(2);
  const [first, second] = /** @type {[any, any]} */ (tabs);
  const events = [first, second].map(({ firenze }) => record(firenze, "refused"));
  hear(second, "users/7");
  await (await world.request("/connect/")).answer({ refused: [{ path: "users/7", reason: "policy" }] });
  assert.deepEqual(events, [[], [["refused", { path: "users/7", reason: "policy" }]]]);
  hear(second, "users/7");
  assert.deepEqual((await world.request("/connect/")).body, ["users/7"]);
});

test("a path that was refused is not asked for by the next tab that leads", async () => {
  const { world, tabs } = await openLive(2);
  hear(/** @type {any} */ (tabs[1]), "users/7");
  await (await world.request("/connect/")).answer({ refused: [{ path: "users/7", reason: "policy" }] });
  await tabs[0]?.crash();
  await world.pass(10_000);
  assert.deepEqual(
    world.open.map(({ url }) => url),
    ["/comet/uid1/a.1.1"],
  );
});

test("every tab shows the state of the one that polls", async () => {
  const { world, tabs } = await openLive(2);
  const events = record(/** @type {any} */ (tabs[1]).firenze, "state");
  await (await world.request("/comet/")).fail();
  await world.pass(500);
  await (await world.request("/comet/uid1")).answer(answer("uid1/a.2.1"));
  assert.deepEqual(
    events.map(([, { state }]) => state),
    ["waiting", "connecting", "live"],
  );
});

test("polls are told of in every tab that wants to know, by whom", async () => {
  const { browser, tabs } = await openLive(2);
  const events = tabs.map(({ firenze }) => record(firenze, "poll"));
  await settle();
  await browser.world.pass(700);
  await say(browser, "a.2.1", "one");
  const poll = { startedAt: 0, endedAt: 700, status: 200, outcome: "answer", cursor: "a.1.1", updates: 1 };
  assert.deepEqual(events, [[["poll", { ...poll, by: "tab" }]], [["poll", { ...poll, by: "leader" }]]]);
});

test("a page in the back/forward cache leaves the lead, and catches up when it is back", async () => {
  const { browser, tabs, heard } = await openLive(2);
  const first = /** @type {any} */ (tabs[0]);
  await first.hide();
  await say(browser, "a.2.1", "one");
  assert.deepEqual(heard, [[""], ["", "one"]]);
  await first.show();
  assert.deepEqual([heard[0], browser.polls().length], [["", "one"], 1]);
  await say(browser, "a.3.1", "two");
  assert.deepEqual(heard, Array(2).fill(["", "one", "two"]));
});

test("a page alone in the back/forward cache ends its poll, and goes on from its position when it is back", async () => {
  const { browser, tabs, heard } = await openLive(1);
  const first = /** @type {any} */ (tabs[0]);
  await first.hide();
  assert.equal(browser.polls().length, 0);
  await first.show();
  assert.ok(browser.polls().some(({ url }) => url === "/comet/uid1/a.1.1"));
  assert.deepEqual(heard[0], [""]);
});

test("a page that is frozen while it looks for others begins once, when it is thawed", async () => {
  const browser = new Browser();
  const opening = browser.open();
  const [tab] = browser.tabs;
  await Promise.resolve();
  tab?.page.document.dispatchEvent(new Event("freeze"));
  await opening;
  assert.equal(browser.polls().length, 0);
  tab?.page.document.dispatchEvent(new Event("resume"));
  await settle();
  assert.equal(browser.polls().length, 1);
});

/**
 * Have the second of two tabs lead, whose tokens are given one after the other, and withdraw the path.
 *
 * @param {string[]} tokens
 */
async function withdrawAfterHandOver(...tokens) {
  const browser = new Browser();
  const token = () => (tokens.length > 1 ? (tokens.shift() ?? "") : (tokens[0] ?? ""));
  const [first, second] = [await browser.open({ shared: "ann" }), await browser.open({ shared: "ann", token })];
  hear(first);
  hear(second);
  await goLive(browser.world, ["tasks"]);
  await first.crash();
  const events = record(second.firenze, "refused");
  await (await browser.world.request("/comet/")).answer(answer("uid1/a.1.2", [["::+::disconnect", "tasks"]]));
  await settle();
  return { browser, events };
}

test("the next tab that leads renews the token of a path that another one asked for", async () => {
  const { browser, events } = await withdrawAfterHandOver("T1", "T2");
  const request = await browser.world.request("/connect/");
  assert.deepEqual([request.headers.get("Authorization"), events], ["Bearer T2", []]);
});

test("the next tab that leads does not fight over a path that was taken away", async () => {
  const { browser, events } = await withdrawAfterHandOver("T1");
  assert.deepEqual(events, [["refused", { path: "tasks", reason: "withdrawn" }]]);
  assert.equal(browser.polls().length, 1);
});

test("a tab that leads again does not wait for what failed when it led before", async () => {
  const browser = new Browser();
  const tab = await browser.open();
  hear(tab);
  await (await browser.world.request("/comet/")).answer(answer("uid1/a.1.0"));
  for (let failures = 0; failures < 6; failures += 1) {
    await (await browser.world.request("/connect/")).fail();
    if (failures < 5) await browser.world.pass(16_000);
  }
  await tab.hide();
  await tab.show();
  await browser.world.pass(0);
  assert.equal(browser.world.open.filter(({ url }) => url.includes("/connect/")).length, 1);
});

/** @param {object} claims */
const jwt = (claims) => `x.${btoa(JSON.stringify(claims))}.y`;

for (const [name, options, count] of /** @type {[string, object[], number][]} */ ([
  ["they have the same options", [{}, {}], 1],
  ["their connect URLs differ", [{}, { connectUrl: "/other/connect/%@" }], 2],
  ["their headers differ", [{}, { headers: { "X-Team": "7" } }], 2],
  ["one does not want to", [{}, { shared: false }], 2],
  ["they have the same user", [{ user: "ann" }, { user: "ann" }], 1],
  ["they have different users", [{ user: "ann" }, { user: "bob" }], 2],
  ["one has no user", [{ user: "ann" }, { user: null }], 2],
  ["a cookie may say who they are", [{ user: undefined }, { user: undefined }], 2],
  ["a cookie may say who they are at another origin", [{ user: undefined, credentials: "include" }, { user: undefined, credentials: "include" }], 2],
  ["they send no cookies", [{ user: undefined, credentials: "omit" }, { user: undefined, credentials: "omit" }], 1],
  ["they name the same person", [{ shared: "ann" }, { shared: "ann", token: () => "opaque" }], 1],
  ["they name different persons", [{ shared: "ann" }, { shared: "bob" }], 2],
  ["their tokens differ in their times", [{ user: undefined, token: () => jwt({ sub: "ann", exp: 1 }) }, { user: undefined, token: () => jwt({ sub: "ann", exp: 2 }) }], 1],
  ["their tokens are of different persons", [{ user: undefined, token: () => jwt({ sub: "ann" }) }, { user: undefined, token: () => jwt({ sub: "bob" }) }], 2],
  ["their tokens are no JWTs", [{ user: undefined, token: () => "a" }, { user: undefined, token: () => "b" }], 2],
])) {
  test(`tabs hold ${count === 1 ? "one poll" : "a poll each"} when ${name}`, async () => {
    const browser = new Browser();
    for (const option of options) await browser.open(option);
    await settle();
    assert.equal(browser.polls().length, count);
  });
}

test("each tab polls for itself when the browser forbids locks", async () => {
  const browser = new Browser();
  browser.locks.areForbidden = true;
  for (let number = 0; number < 3; number += 1) await browser.open();
  assert.equal(browser.polls().length, 3);
});
