/** follow: a list that comes in several pages. */

import assert from "node:assert/strict";
import test from "node:test";

import { list, say, shown, start, task } from "./followed.js";
import { goLive, settle, World } from "./world.js";

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
