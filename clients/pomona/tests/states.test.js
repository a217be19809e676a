/** The table of states in the README, cell by cell. */

import assert from "node:assert/strict";
import test from "node:test";

import { readTable } from "./readme.js";
import { answer, settle, World } from "./world.js";

/** @typedef {{world: World, firenze: import("./world.js").Client}} Scene */

const NEVER = "–";
const table = readTable("States");

/** @param {World} world */
const held = async (world) => world.request(/\/comet\/(?:uid1\/.*)?$/);

/** How a client comes into each state. @type {Record<string, (scene: Scene) => Promise<void> | void>} */
const STATES = {
  connecting: () => {},
  live: async ({ world }) => (await held(world)).answer(answer("uid1/a.1.0")),
  unconnected: async (scene) => {
    scene.firenze.connect("tasks", () => {});
    await STATES["live"]?.(scene);
    await (await scene.world.request("/connect/")).fail();
  },
  waiting: async (scene) => {
    await STATES["live"]?.(scene);
    await (await held(scene.world)).fail();
  },
  offline: async (scene) => {
    await STATES["live"]?.(scene);
    await settle();
    setOnLine(scene, false);
    await settle();
  },
  closed: ({ firenze }) => firenze.close(),
};

/** What can happen, by the first words of its row. @type {Record<string, (scene: Scene) => Promise<void> | void>} */
const EVENTS = {
  "an answer": async ({ world }) => (await held(world)).answer(answer("uid1/a.2.0", [["tasks", "x"]])),
  "an answer with `retry`": async ({ world }) => (await held(world)).answer(answer("uid1/a.2.0", [], { retry: 900 })),
  "an answer with another uid": async ({ world }) => (await held(world)).answer(answer("uid2/b.1.0")),
  "a network error": async ({ world }) => (await held(world)).fail(),
  "a 5xx, 429 or 403": async ({ world }) => (await held(world)).answer("", 503, { "Retry-After": "1" }),
  "a 400 or 410": async ({ world }) => (await held(world)).answer("", 410),
  "45 s of silence": async ({ world }) => {
    await held(world);
    await world.pass(43_500);
  },
  "its pause is over": async ({ world }) => {
    assert.equal(world.open.length, 0);
    await world.pass(500);
  },
  "the network goes": (scene) => setOnLine(scene, false),
  "the network comes": (scene) => setOnLine(scene, true),
  "the page is seen": ({ world }) => void world.page.document.dispatchEvent(new Event("visibilitychange")),
  "the machine slept": async ({ world }) => {
    world.sleep(60_000);
    await world.pass(0);
  },
  "the page is frozen": ({ world }) => void world.page.document.dispatchEvent(new Event("freeze")),
  "the page is frozen and thawed": ({ world }) => {
    world.page.document.dispatchEvent(new Event("freeze"));
    world.page.document.dispatchEvent(new Event("resume"));
  },
  "`close()`": ({ firenze }) => firenze.close(),
};

/** @param {Scene} scene @param {boolean} isOnLine */
function setOnLine({ world }, isOnLine) {
  world.page.navigator.onLine = isOnLine;
  world.page.window.dispatchEvent(new Event(isOnLine ? "online" : "offline"));
}

/** @param {World} world */
const polls = (world) => world.log.filter((line) => line.startsWith("GET")).length;

test("the table has every state and every event", () => {
  assert.deepEqual(new Set(table.map(({ state }) => state)), new Set(Object.keys(STATES)));
  assert.deepEqual(new Set(table.map(({ event }) => event)), new Set(Object.keys(EVENTS)));
});

for (const { event, state, cell } of table) {
  test(`${event}, while ${state}: ${cell}`, async () => {
    const world = new World();
    const scene = { world, firenze: world.createFirenze() };
    await settle();
    await STATES[state]?.(scene);
    await world.pass(["connecting", "live", "unconnected"].includes(state) ? 1_500 : 0);
    assert.equal(scene.firenze.state, state);
    const happen = async () => EVENTS[event]?.(scene);
    if (cell === NEVER) return assert.rejects(happen);
    const before = polls(world);
    await happen();
    await world.pass(0);
    const [next, ...rest] = cell.split(", ");
    assert.deepEqual([scene.firenze.state, polls(world) > before], [next, rest.includes("polls")]);
  });
}
