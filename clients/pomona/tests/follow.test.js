/** follow: a list that equals the server's, whatever comes in which order. */

import assert from "node:assert/strict";
import test from "node:test";

import { list, say, shown, start, task } from "./followed.js";
import { answer, goLive, settle, World } from "./world.js";

/** @import { Task } from "./followed.js" */

test("the list is loaded after the confirmation, not before", async () => {
  const { world, followed, events } = await start();
  await settle();
  assert.ok(!world.log.includes("GET /list"));
  await goLive(world, ["tasks"]);
  assert.equal(followed.isLoaded, false);
  await list(world, [task("/task/1", 1)]);
  assert.deepEqual([shown(followed), followed.isLoaded], [[task("/task/1", 1)], true]);
  assert.deepEqual(events, [
    ["change", { changes: [{ kind: "added", item: task("/task/1", 1), previous: null }], origin: "snapshot" }],
    ["loaded", null],
  ]);
});

test("the list is loaded at once as well when that is wanted", async () => {
  const { world, followed } = await start({ loadAtOnce: true });
  await list(world, [task("/task/1", 1)]);
  assert.deepEqual(shown(followed), [task("/task/1", 1)]);
  await goLive(world, ["tasks"]);
  await list(world, [task("/task/1", 2)]);
  assert.deepEqual(shown(followed), [task("/task/1", 2)]);
});

for (const [name, body] of /** @type {[string, unknown][]} */ ([
  ["an array", [{ guid: "a", version: 1 }]],
  ["an array in `content`", { content: [{ guid: "a", version: 1 }] }],
])) {
  test(`a snapshot may be a Response with ${name}`, async () => {
    const { world, followed } = await start();
    await goLive(world, ["tasks"]);
    await list(world, body);
    assert.deepEqual(shown(followed), [task("a", 1)]);
  });

  test(`a snapshot may be ${name}`, async () => {
    const { world, followed } = await start({ snapshot: async () => body });
    await goLive(world, ["tasks"]);
    await settle();
    assert.deepEqual(shown(followed), [task("a", 1)]);
  });
}

test("key and version may be functions", async () => {
  const { world, followed } = await start({ key: ({ guid }) => guid.length, version: ({ version }) => -version });
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 2)]);
  await say(world, "a.2.1", task("b", 1), task("b", 3));
  assert.deepEqual([...followed.items], [[1, task("b", 1)]]);
});

test("follow throws a TypeError when it is given no key or no version", () => {
  const firenze = new World().createFirenze();
  const snapshot = () => [];
  assert.throws(() => firenze.follow("tasks", /** @type {any} */ ({ snapshot, version: "version" })), TypeError);
  assert.throws(() => firenze.follow("tasks", /** @type {any} */ ({ snapshot, key: "guid" })), TypeError);
});

test("the newest version wins, whether update, snapshot or own write brings it", async () => {
  const { world, followed, events } = await start();
  await goLive(world, ["tasks"]);
  await say(world, "a.2.1", task("a", 5));
  await list(world, [task("a", 4), task("b", 1)]);
  assert.deepEqual(shown(followed), [task("a", 5), task("b", 1)]);
  assert.equal(followed.apply(task("b", 2)), true);
  assert.equal(followed.apply(task("b", 2)), false);
  await say(world, "a.3.1", task("b", 2), task("b", 1));
  assert.deepEqual(shown(followed), [task("a", 5), task("b", 2)]);
  assert.deepEqual(events.filter(([type]) => type === "change").length, 3);
  assert.equal(followed.revision, 4);
});

test("a change is told with what was there before", async () => {
  const { world, events } = await start();
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 1)]);
  events.length = 0;
  const gone = { ...task("a", 3), DELETE: true };
  await say(world, "a.2.1", task("a", 2), gone);
  assert.deepEqual(events, [
    ["change", { changes: [{ kind: "changed", item: task("a", 2), previous: task("a", 1) }], origin: "update" }],
    ["change", { changes: [{ kind: "deleted", item: gone, previous: task("a", 2) }], origin: "update" }],
  ]);
});

test("a deleted item does not come back with an older list or a late update, and does with a newer version", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await say(world, "a.2.1", { ...task("a", 3), DELETE: true });
  await list(world, [task("a", 2)]);
  await say(world, "a.3.1", task("a", 2));
  assert.deepEqual(shown(followed), []);
  await say(world, "a.4.1", task("a", 4));
  assert.deepEqual(shown(followed), [task("a", 4)]);
});

test("what a list lacks is no deletion: it is shown again with the same version, by a list or an update", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 1), task("b", 1)]);
  for (const [items, count] of /** @type {[Task[], number][]} */ ([
    [[task("a", 1)], 1],
    [[task("a", 1), task("b", 1)], 2],
    [[], 0],
    [[task("b", 1)], 1],
  ])) {
    followed.reload();
    await list(world, items);
    assert.equal(followed.items.size, count);
  }
  await say(world, "a.2.1", task("a", 1));
  assert.deepEqual(shown(followed), [task("b", 1), task("a", 1)]);
});

test("what a list lacks and another has anew begins with any version", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 7)]);
  followed.reload();
  await list(world, []);
  followed.reload();
  await list(world, [task("a", 1)]);
  assert.deepEqual(shown(followed), [task("a", 1)]);
});

test("a deletion without a version of an item that was not known hides no later version", async () => {
  const { world, followed } = await start({ isDeleted: (item) => "gone" in item });
  await goLive(world, ["tasks"]);
  await list(world, []);
  await say(world, "a.2.1", { guid: "a", gone: true }, task("a", 3));
  assert.deepEqual(shown(followed), [task("a", 3)]);
});

test("a deletion without a version counts for the version that was known", async () => {
  const { world, followed } = await start({ isDeleted: (item) => "gone" in item });
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 3)]);
  await say(world, "a.2.1", { guid: "a", gone: true }, task("a", 3));
  assert.deepEqual(shown(followed), []);
});

test("a late deletion does not take away a newer item", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 3)]);
  await say(world, "a.2.1", { ...task("a", 2), DELETE: true });
  assert.deepEqual(shown(followed), [task("a", 3)]);
});

test("what a new list lacks is deleted, unless it was heard of while the list was on its way", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 1), task("b", 1)]);
  followed.reload();
  await settle();
  await say(world, "a.2.1", task("c", 1));
  await list(world, [task("a", 1)]);
  assert.deepEqual(shown(followed), [task("a", 1), task("c", 1)]);
});

test("a reload asked for while the list is on its way loads it once more afterwards", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  followed.reload();
  followed.reload();
  await list(world, []);
  await list(world, [task("a", 1)]);
  assert.deepEqual([shown(followed), world.log.filter((line) => line === "GET /list").length], [[task("a", 1)], 2]);
});

test("the list is loaded anew when the path has a gap, and not for another path's", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await list(world, []);
  const gaps = [{ path: "users/7", reason: "expired" }];
  await (await world.request("/comet/uid1/")).answer(answer("uid1/a.2.1", [], { gaps }));
  assert.ok(!world.open.some(({ url }) => url === "/list"));
  gaps.push({ path: "tasks", reason: "expired" });
  await (await world.request("/comet/uid1/")).answer(answer("uid1/a.3.1", [], { gaps }));
  await list(world, [task("a", 7)]);
  assert.deepEqual(shown(followed), [task("a", 7)]);
});

test("the list is loaded anew when the path is confirmed for a new uid", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await list(world, [task("a", 1)]);
  await (await world.request("/comet/uid1/")).answer(answer("uid2/b.1.0"));
  await (await world.request("/connect/uid2")).answer({ connected: ["tasks"], refused: [] });
  await (await world.request("/comet/uid2")).answer(answer("uid2/b.1.1", [["tasks", ""]]));
  await list(world, [task("b", 1)]);
  assert.deepEqual(shown(followed), [task("b", 1)]);
});

for (const [name, body, status] of /** @type {[string, unknown, number][]} */ ([
  ["it is answered with 503", "", 503],
  ["it is no JSON", "<html>", 200],
  ["it is no list", { tasks: [] }, 200],
])) {
  test(`an error is told and the list tried again with back-off when ${name}`, async () => {
    const { world, followed, events } = await start();
    await goLive(world, ["tasks"]);
    await list(world, body, status);
    assert.deepEqual(
      events.map(([type, { error }]) => [type, error instanceof Error]),
      [["error", true]],
    );
    await world.pass(499);
    assert.ok(!world.open.some(({ url }) => url === "/list"));
    await world.pass(1);
    await list(world, [task("a", 1)]);
    assert.deepEqual(shown(followed), [task("a", 1)]);
  });
}

test("a list that waits for its next try is loaded at once when the connection is live again", async () => {
  const { world } = await start();
  await goLive(world, ["tasks"]);
  await list(world, "", 503);
  await (await world.request("/comet/uid1/")).fail();
  await world.pass(500);
  await list(world, "", 503);
  await (await world.request("/comet/uid1/")).answer(answer("uid1/a.2.1"));
  await world.pass(0);
  assert.equal(world.open.filter(({ url }) => url === "/list").length, 1);
});

test("a message that is no item is told as an error and the next one applied", async () => {
  const { world, followed, events } = await start();
  await goLive(world, ["tasks"]);
  await list(world, []);
  events.length = 0;
  const poll = await world.request("/comet/uid1/");
  await poll.answer(answer("uid1/a.2.1", [["tasks", "{"], ["tasks", "null"], ["tasks", JSON.stringify(task("a", 1))]]));
  assert.deepEqual([events.map(([type]) => type), shown(followed)], [["error", "error", "change"], [task("a", 1)]]);
});

for (const [name, close] of /** @type {[string, (parts: {followed: {close: () => void}, end: AbortController}) => void][]} */ ([
  ["close", ({ followed }) => followed.close()],
  ["its signal", ({ end }) => end.abort()],
])) {
  test(`${name} ends it: the load, the tries and the path`, async () => {
    const end = new AbortController();
    const { world, followed } = await start({ signal: end.signal });
    await goLive(world, ["tasks"]);
    const loading = await world.request("/list");
    close({ followed, end });
    assert.equal(loading.signal.aborted, true);
    assert.deepEqual((await world.request("/disconnect/")).body, ["tasks"]);
    followed.reload();
    await world.pass(60_000);
    assert.equal(world.log.filter((line) => line === "GET /list").length, 1);
  });
}

test("nothing is followed when the signal has been given already", async () => {
  const { world } = await start({ signal: AbortSignal.abort(), loadAtOnce: true });
  await (await world.request("/comet/")).answer(answer("uid1/a.1.0"));
  assert.deepEqual(
    world.open.map(({ url }) => url),
    ["/comet/uid1/a.1.0"],
  );
});
