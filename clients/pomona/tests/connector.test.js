/** Connecting: batches, refusals, withdrawals, and what a new uid means. */

import assert from "node:assert/strict";
import test from "node:test";

import { answer, goLive, record, settle, World } from "./world.js";

const WITHDRAWN = "::+::disconnect";
const hear = () => {};

/** @param {World} world */
const posts = (world) => world.log.filter((line) => line.startsWith("POST"));

/** @param {World} world @param {string} [uid] */
const giveUid = async (world, uid = "uid1") => (await world.request("comet")).answer(answer(`${uid}/a.1.0`));

test("what is connected before there is a uid waits for it and goes in one request", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  firenze.connect("tasks", hear);
  firenze.connect("tasks/7", hear);
  await settle();
  assert.deepEqual(posts(world), []);
  await giveUid(world);
  const request = await world.request("/connect/");
  assert.deepEqual([request.url, request.body], ["/tasks/connect/uid1", ["tasks", "tasks/7"]]);
});

test("200 paths go in two requests, one after the other", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  for (let number = 0; number < 200; number += 1) firenze.connect(`room/${number}`, hear);
  await giveUid(world);
  const first = await world.request("/connect/");
  await first.answer({ connected: first.body, refused: [] });
  const second = await world.request("/connect/");
  assert.deepEqual([first.body.length, second.body.length, second.body[0]], [128, 72, "room/128"]);
});

test("all paths are connected again and a reset is told when the uid changes", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "reset");
  firenze.connect("tasks", hear);
  await goLive(world, ["tasks"]);
  assert.deepEqual(events, []);
  await giveUid(world, "uid2");
  const request = await world.request("/connect/");
  assert.deepEqual([request.url, request.body, events.length], ["/tasks/connect/uid2", ["tasks"], 1]);
});

test("a connect under way for the old uid is given up when the uid changes", async () => {
  const world = new World();
  world.createFirenze().connect("tasks", hear);
  await giveUid(world, "uid1");
  const old = await world.request("/connect/uid1");
  await giveUid(world, "uid2");
  assert.equal(old.signal.aborted, true);
  assert.deepEqual((await world.request("/connect/uid2")).body, ["tasks"]);
});

test("a connect request is tried again with back-off and Retry-After when it fails", async () => {
  const world = new World();
  world.createFirenze().connect("tasks", hear);
  await giveUid(world);
  await (await world.request("/connect/")).fail();
  await world.pass(500);
  await (await world.request("/connect/")).answer("", 503, { "Retry-After": "3" });
  await world.pass(3_999);
  assert.equal(posts(world).length, 2);
  await world.pass(1);
  assert.deepEqual((await world.request("/connect/")).body, ["tasks"]);
});

test("a connect request that hangs is given up after 20 s and tried again", async () => {
  const world = new World();
  world.createFirenze().connect("tasks", hear);
  await giveUid(world);
  const hung = await world.request("/connect/");
  await world.pass(20_500);
  assert.deepEqual([hung.signal.aborted, posts(world).length], [true, 2]);
});

test("a uid that the back end does not know is dropped, and the client begins anew", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "reset");
  firenze.connect("tasks", hear);
  await giveUid(world, "uid1");
  const held = await world.request("comet");
  await (await world.request("/connect/")).answer("", 410);
  assert.deepEqual([held.signal.aborted, firenze.getDoloresId()], [true, null]);
  assert.equal((await world.request("comet")).url, "/comet/");
  await giveUid(world, "uid2");
  await world.pass(500);
  assert.deepEqual((await world.request("/connect/uid2")).body, ["tasks"]);
  assert.equal(events.length, 1);
});

test("services that disagree about uids don't send the client round in circles", async () => {
  const world = new World();
  world.createFirenze().connect("tasks", hear);
  /** @type {number[]} */
  const times = [];
  for (let round = 0; round < 6; round += 1) {
    await giveUid(world, `uid${round}`);
    while (!world.open.some(({ url }) => url.includes("/connect/"))) await world.pass(100);
    times.push(world.now);
    await (await world.request("/connect/")).answer("", 410);
  }
  assert.deepEqual(times, [0, 500, 1_500, 3_500, 7_500, 15_500]);
});

test("one refused path is told with its reason, and its neighbours are connected", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "refused");
  firenze.connect("tasks", hear);
  firenze.connect("users/7", hear);
  await giveUid(world);
  const refused = [{ path: "users/7", reason: "policy" }];
  await (await world.request("/connect/")).answer({ connected: ["tasks"], refused });
  await world.pass(60_000);
  assert.deepEqual([events, posts(world).length], [[["refused", refused[0]]], 1]);
});

for (const status of [401, 403, 404, 422]) {
  test(`all paths are refused and none is tried again when the answer is ${status}`, async () => {
    const world = new World();
    const firenze = world.createFirenze();
    const events = record(firenze, "refused");
    firenze.connect("tasks", hear);
    await giveUid(world);
    await (await world.request("/connect/")).answer({ title: "no" }, status);
    await world.pass(60_000);
    assert.deepEqual(
      [events, posts(world).length],
      [[["refused", { path: "tasks", reason: `status ${status}` }]], 1],
    );
  });
}

test("a refused path is asked for again when the page asks again or the uid is new", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  firenze.connect("tasks", hear);
  await giveUid(world);
  await (await world.request("/connect/")).answer("", 403);
  firenze.connect("tasks", hear);
  await (await world.request("/connect/")).answer("", 403);
  await giveUid(world, "uid2");
  assert.equal((await world.request("/connect/")).url, "/tasks/connect/uid2");
});

test("a back end of 2009 that answers 200 with any body has connected everything", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "refused");
  firenze.connect("tasks", hear);
  await giveUid(world);
  await (await world.request("/connect/")).answer("{success:true}");
  await world.pass(60_000);
  assert.deepEqual([events, posts(world).length], [[], 1]);
});

test("a path that the server withdraws is told as refused and not fought over", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "refused");
  /** @type {string[]} */
  const messages = [];
  firenze.connect("tasks", (/** @type {string} */ _path, /** @type {string} */ message) => messages.push(message));
  await goLive(world, ["tasks"]);
  await (await world.request("comet")).answer(answer("uid1/a.1.2", [[WITHDRAWN, "tasks"]]));
  await world.pass(60_000);
  assert.deepEqual(events, [["refused", { path: "tasks", reason: "withdrawn" }]]);
  assert.deepEqual([messages, posts(world).length], [[""], 1]);
});

test("a path whose grant has come to its end is told from one that was taken away", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "refused");
  for (const path of ["tasks", "users/7"]) firenze.connect(path, hear);
  await goLive(world, ["tasks", "users/7"]);
  const updates = [
    { path: WITHDRAWN, message: "tasks", reason: "ended" },
    { path: WITHDRAWN, message: "users/7" },
  ];
  await (await world.request("comet")).answer({ updates, reconnectWith: "uid1/a.1.2" });
  await settle();
  assert.deepEqual(events, [
    ["refused", { path: "tasks", reason: "ended" }],
    ["refused", { path: "users/7", reason: "withdrawn" }],
  ]);
});

test("renew asks again for what was refused or withdrawn, and for nothing else", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  for (const path of ["tasks", "users/7", "rooms/1"]) firenze.connect(path, hear);
  await giveUid(world);
  const refused = [{ path: "rooms/1", reason: "policy" }];
  await (await world.request("/connect/")).answer({ connected: ["tasks", "users/7"], refused });
  const told = answer("uid1/a.1.3", [["tasks", ""], ["users/7", ""], [WITHDRAWN, "users/7"]]);
  await (await world.request("/comet/uid1")).answer(told);
  await settle();
  firenze.renew();
  assert.deepEqual((await world.request("/connect/")).body.sort(), ["rooms/1", "users/7"]);
});

test("a refusal of the whole request has the server's reason", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "refused");
  firenze.connect("tasks", hear);
  await giveUid(world);
  await (await world.request("/connect/")).answer({ reason: "cross-site" }, 403);
  await settle();
  assert.deepEqual(events, [["refused", { path: "tasks", reason: "cross-site" }]]);
});

test("the notice of the page's own disconnect is no refusal", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "refused");
  firenze.connect("tasks", hear);
  await goLive(world, ["tasks"]);
  firenze.disconnect("tasks", hear);
  firenze.disconnect("tasks", hear);
  const request = await world.request("/disconnect/");
  await (await world.request("comet")).answer(answer("uid1/a.1.2", [[WITHDRAWN, "tasks"]]));
  await request.answer({ connected: [], refused: [] });
  assert.deepEqual([events, posts(world).length], [[], 2]);
});

test("a path left and wanted again at once is disconnected, then connected", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  const events = record(firenze, "refused");
  firenze.connect("tasks", hear);
  await goLive(world, ["tasks"]);
  firenze.disconnect("tasks");
  const leaving = await world.request("/disconnect/");
  firenze.connect("tasks", hear);
  await leaving.answer({});
  await (await world.request("/connect/")).answer({ connected: ["tasks"], refused: [] });
  await (await world.request("comet")).answer(answer("uid1/a.1.3", [[WITHDRAWN, "tasks"], ["tasks", ""]]));
  assert.deepEqual([events, posts(world).length], [[], 3]);
});

test("a path left and wanted again within one turn costs no request", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  firenze.connect("tasks", hear);
  await goLive(world, ["tasks"]);
  firenze.disconnect("tasks");
  firenze.connect("tasks", hear);
  await settle();
  assert.equal(posts(world).length, 1);
});

test("a path that may have been connected in spite of an error is disconnected when nobody wants it any more", async () => {
  const world = new World();
  const firenze = world.createFirenze();
  firenze.connect("tasks", hear);
  await giveUid(world);
  await (await world.request("/connect/")).fail();
  firenze.disconnect("tasks");
  await world.pass(500);
  assert.deepEqual((await world.request("/disconnect/")).body, ["tasks"]);
});

test("a connect that waits is tried at once when the page comes back", async () => {
  const world = new World();
  world.createFirenze().connect("tasks", hear);
  await giveUid(world);
  await (await world.request("/connect/")).fail();
  world.page.window.dispatchEvent(new Event("online"));
  await world.pass(0);
  assert.equal(posts(world).length, 2);
});
