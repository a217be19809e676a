/** follow: a list that equals the server's, whatever comes in which order. */

import assert from "node:assert/strict";
import test from "node:test";

import { answer, goLive, record, settle, World } from "./world.js";

/** @typedef {{guid: string, version: number, DELETE?: boolean}} Task */

/** @param {string} guid @param {number} version @returns {Task} */
const task = (guid, version) => ({ guid, version });

/**
 * Follow `tasks`, up to the request for the list.
 *
 * @param {Partial<import("../src/follow.js").FollowOptions<Task>>} [options]
 */
async function start(options) {
  const world = new World();
  const firenze = world.createFirenze();
  const runtime = world.runtime();
  const followed = firenze.follow("tasks", {
    snapshot: ({ signal }) => runtime.fetch?.("/list", { signal }),
    key: "guid",
    version: "version",
    ...options,
  });
  const events = record(followed, "change", "loaded", "error");
  return { world, firenze, followed, events };
}

/** @param {World} world @param {string} cursor @param {unknown[]} items */
async function say(world, cursor, ...items) {
  const updates = items.map((item) => /** @type {[string, string]} */ (["tasks", JSON.stringify(item)]));
  await (await world.request("/comet/uid1/")).answer(answer(`uid1/${cursor}`, updates));
}

/** @param {World} world @param {unknown} body @param {number} [status] */
const list = async (world, body, status) => (await world.request("/list")).answer(body, status);

/** @param {{items: Map<unknown, Task>}} followed */
const shown = ({ items }) => [...items.values()];

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

/** @param {World} world @param {string} url @param {unknown} body @param {string} [link] */
const page = async (world, url, body, link) =>
  (await world.request(url)).answer(body, 200, link === undefined ? {} : { Link: link });

for (const [name, link] of [
  ["as it should be", '</list?after=b>; rel="next"'],
  ["without quotes, absolute and among others", '</list>; rel=first, <http://page.test/list?after=b>;title="a, <b>; c";REL=next'],
  ["with another relation", '</list?after=b>; title=x; rel="last next"'],
  ["relative to the page that it is on", '<?after=b>; rel="next"'],
]) {
  test(`the next pages of a list are loaded when the link to them is ${name}`, async () => {
    const { world, followed, events } = await start();
    await goLive(world, ["tasks"]);
    await page(world, "/list", { content: [task("a", 1), task("b", 1)] }, link);
    assert.equal(followed.isLoaded, false);
    await page(world, "http://page.test/list\\?after=b", { content: [task("c", 1)] });
    assert.deepEqual(shown(followed), [task("a", 1), task("b", 1), task("c", 1)]);
    assert.deepEqual([followed.isCut, events.map(([type]) => type)], [false, ["change", "loaded"]]);
  });
}

for (const link of ['</list?after=b>; rel="nextish"', '</next>; rel="prev"; title="rel=next"', "next", '</x>; rel="prev", <>']) {
  test(`a list is whole when it has no link to a next page, as with ${link}`, async () => {
    const { world, followed, events } = await start();
    await goLive(world, ["tasks"]);
    await page(world, "/list", [task("a", 1)], link);
    assert.deepEqual([followed.isLoaded, events.map(([type]) => type)], [true, ["change", "loaded"]]);
  });
}

for (const [name, link] of [
  ["is of another origin", '<http://elsewhere.test/list?after=a>; rel="next"'],
  ["is of another scheme", '<https://page.test/list?after=a>; rel="next"'],
  ["runs a script", '<javascript:alert(1)>; rel="next"'],
  ["is no URL", '<http://[>; rel="next"'],
  ["is the page itself", '</list>; rel="next"'],
]) {
  test(`a list is said to be cut, and takes nothing away, when the link to its next page ${name}`, async () => {
    const { world, followed, events } = await start();
    await goLive(world, ["tasks"]);
    await list(world, [task("a", 1), task("b", 1)]);
    events.length = 0;
    followed.reload();
    await page(world, "/list", [task("a", 2)], link);
    assert.deepEqual([shown(followed), followed.isCut], [[task("a", 2), task("b", 1)], true]);
    assert.deepEqual(events.map(([type]) => type), ["change", "loaded", "error"]);
    assert.match(events.at(-1)?.[1].error.message, /cut after 1 items/);
    await world.pass(60_000);
    assert.ok(!world.open.some(({ url }) => !url.startsWith("/comet/")));
    followed.reload();
    await list(world, [task("a", 2)]);
    assert.deepEqual([shown(followed), followed.isCut], [[task("a", 2)], false]);
  });
}

test("a list whose pages have no end, or lead round in a circle, is cut", async () => {
  for (const [isRound, count] of /** @type {[boolean, number][]} */ ([
    [true, 3],
    [false, 1_000],
  ])) {
    let pages = 0;
    const fetchNext = async () => {
      pages += 1;
      const link = `</list?page=${isRound ? pages % 2 : pages}>; rel="next"`;
      return new Response(JSON.stringify([task(String(pages), 1)]), { headers: { Link: link } });
    };
    const { world, followed } = await start({ snapshot: fetchNext, fetchNext });
    await goLive(world, ["tasks"]);
    for (let turns = 0; turns < 2_000 && !followed.isLoaded; turns += 1) await settle();
    assert.deepEqual([pages, followed.isCut], [count, true]);
  }
});

test("a list is loaded anew from its first page when one of the next fails", async () => {
  const { world, followed, events } = await start();
  await goLive(world, ["tasks"]);
  await page(world, "/list", [task("a", 1)], '</list?after=a>; rel="next"');
  await (await world.request("after=a")).answer("", 503);
  assert.deepEqual([events.map(([type]) => type), followed.items.size], [["error"], 0]);
  await world.pass(1_000);
  await page(world, "/list", [task("a", 1)], '</list?after=a>; rel="next"');
  await page(world, "after=a", [task("b", 1)]);
  assert.equal(followed.items.size, 2);
});

test("what is heard while any page is on its way is kept", async () => {
  const { world, followed } = await start();
  await goLive(world, ["tasks"]);
  await page(world, "/list", [task("a", 1)], '</list?after=a>; rel="next"');
  await say(world, "a.2.1", task("c", 1), { ...task("a", 2), DELETE: true });
  await page(world, "after=a", [task("b", 1)]);
  assert.deepEqual(shown(followed), [task("c", 1), task("b", 1)]);
});

test("next pages are loaded as the page wants", async () => {
  const { world } = await start({
    fetchNext: (url, { signal }) => /** @type {any} */ (world.runtime().fetch)(url, { signal, headers: { "X-Team": "7" } }),
  });
  await goLive(world, ["tasks"]);
  await page(world, "/list", [], '</list?after=a>; rel="next"');
  assert.equal((await world.request("after=a")).headers.get("X-Team"), "7");
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
