/** A tab that can share with none lets go of its poll while nobody sees it: a browser has six connections to a host. */

import assert from "node:assert/strict";
import test from "node:test";

import { Browser } from "./browser.js";
import { answer, settle, World } from "./world.js";

/** @param {World} world @param {"visible" | "hidden"} visibilityState */
async function turn(world, visibilityState) {
  world.page.document.visibilityState = visibilityState;
  world.page.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
}

/** @param {World} world */
const polls = (world) => world.open.map(({ url }) => url).filter((url) => url.startsWith("/comet/"));

test("a hidden tab lets go of its poll, and goes on from its cursor when it is seen", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  await (await world.request("/comet/")).answer(answer("uid1/a.1.0"));
  await turn(world, "hidden");
  world.page.window.dispatchEvent(new Event("online"));
  await world.pass(600_000);
  assert.deepEqual([polls(world), firenze.state], [[], "connecting"]);
  await turn(world, "visible");
  assert.ok(polls(world).includes("/comet/uid1/a.1.0"));
});

test("a tab that is opened in the background polls once it is seen", async () => {
  const world = new World();
  world.page.document.visibilityState = "hidden";
  world.createFirenze();
  await settle();
  assert.deepEqual(polls(world), []);
  await turn(world, "visible");
  assert.deepEqual(polls(world), ["/comet/"]);
});

test("a hidden tab keeps its poll when it was told to share with none", async () => {
  const world = new World();
  world.createFirenze({ shared: false });
  await settle();
  await turn(world, "hidden");
  assert.deepEqual(polls(world), ["/comet/"]);
});

for (const hasLocks of [true, false]) {
  test(`a hidden tab keeps the poll of all tabs ${hasLocks ? "with" : "without"} Web Locks`, async () => {
    const browser = new Browser({ hasLocks });
    const tab = await browser.open();
    await browser.world.pass(1_000);
    tab.page.document.visibilityState = "hidden";
    await tab.look();
    assert.equal(browser.polls().length, 1);
  });
}
