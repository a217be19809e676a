/** Who the page is: tokens, their renewal, headers and cookies on the requests that connect. */

import assert from "node:assert/strict";
import test from "node:test";

import { answer, goLive, record, settle, World } from "./world.js";

const WITHDRAWN = "::+::disconnect";

/** A token function that gives these one after the other, then the last again. @param {(string | null)[]} tokens */
function tokens(...tokens) {
  /** @type {unknown[]} */
  const refused = [];
  const token = async (/** @type {{refused: string | null}} */ context) => {
    refused.push(context.refused);
    return tokens.length > 1 ? (tokens.shift() ?? null) : (tokens[0] ?? null);
  };
  return { token, refused };
}

/**
 * Connect `tasks` with these options, up to the connect request.
 *
 * @param {import("../src/core.js").Options} options
 */
async function start(options) {
  const world = new World();
  const firenze = world.createFirenze(options);
  firenze.connect("tasks", () => {});
  await (await world.request("/comet/")).answer(answer("uid1/a.1.0"));
  return { world, firenze, request: await world.request("/connect/") };
}

test("requests to connect carry token, headers and cookies as told, and polls carry none of them", async () => {
  const { world, request } = await start({
    token: () => "T1",
    headers: { "X-Team": "7" },
    credentials: "include",
  });
  assert.deepEqual(
    [request.headers.get("Authorization"), request.headers.get("X-Team"), request.init.credentials],
    ["Bearer T1", "7", "include"],
  );
  const poll = await world.request("/comet/uid1");
  assert.deepEqual([[...poll.headers.keys()], poll.init.credentials], [["accept"], undefined]);
});

test("a request carries no token when there is none", async () => {
  const { request } = await start({ token: () => null });
  assert.deepEqual([request.headers.get("Authorization"), request.init.credentials], [null, "same-origin"]);
});

test("a token is asked for once and kept while it is good", async () => {
  const { token, refused } = tokens("T1", "T2");
  const { world, firenze, request } = await start({ token });
  await request.answer({ connected: ["tasks"], refused: [] });
  firenze.connect("users/7", () => {});
  const second = await world.request("/connect/");
  assert.deepEqual([refused, second.headers.get("Authorization")], [[null], "Bearer T1"]);
});

test("a token that is answered with 401 is renewed, and the request sent again at once", async () => {
  const { token, refused } = tokens("T1", "T2");
  const { world, firenze, request } = await start({ token });
  const events = record(firenze, "refused");
  await request.answer({ reason: "expired" }, 401);
  const second = await world.request("/connect/");
  assert.deepEqual([second.headers.get("Authorization"), refused, world.now], ["Bearer T2", [null, "T1"], 0]);
  await second.answer({ connected: ["tasks"], refused: [] });
  assert.deepEqual(events, []);
});

test("a path is refused when the renewed token is refused too, or there is no other", async () => {
  for (const given of [["T1"], ["T1", "T2"]]) {
    const { world, firenze, request } = await start(tokens(...given));
    const events = record(firenze, "refused");
    await request.answer("", 401);
    if (given.length > 1) await (await world.request("/connect/")).answer("", 401);
    await world.pass(60_000);
    assert.deepEqual(events, [["refused", { path: "tasks", reason: "status 401" }]]);
    assert.equal(world.log.filter((line) => line.startsWith("POST")).length, given.length);
  }
});

test("renew asks for another token, in which the user's new rights may stand", async () => {
  const { token, refused } = tokens("T1", "T2");
  const { world, firenze, request } = await start({ token });
  await request.answer({ refused: [{ path: "tasks", reason: "policy" }] }, 403);
  firenze.renew();
  const second = await world.request("/connect/");
  assert.deepEqual([second.headers.get("Authorization"), refused], ["Bearer T2", [null, "T1"]]);
});

test("a connect request waits and is tried again when the token can't be had", async () => {
  const world = new World();
  let asked = 0;
  const token = async () => {
    asked += 1;
    if (asked === 1) throw new Error("the issuer is away");
    return "T1";
  };
  world.createFirenze({ token }).connect("tasks", () => {});
  await (await world.request("/comet/")).answer(answer("uid1/a.1.0"));
  await world.pass(500);
  assert.equal((await world.request("/connect/")).headers.get("Authorization"), "Bearer T1");
});

test("paths that end with their token are connected again with a renewed one", async () => {
  const { token, refused } = tokens("T1", "T2");
  const world = new World();
  const firenze = world.createFirenze({ token });
  const events = record(firenze, "refused");
  for (const path of ["tasks", "users/7"]) firenze.connect(path, () => {});
  await goLive(world, ["tasks", "users/7"]);
  const withdrawn = answer("uid1/a.1.2", [[WITHDRAWN, "tasks"], [WITHDRAWN, "users/7"]]);
  await (await world.request("/comet/")).answer(withdrawn);
  const request = await world.request("/connect/");
  assert.deepEqual([request.body, request.headers.get("Authorization")], [["tasks", "users/7"], "Bearer T2"]);
  assert.deepEqual([events, refused], [[], [null, "T1"]]);
});

test("a path that is taken away although the token is still the same is refused", async () => {
  const world = new World();
  const firenze = world.createFirenze({ token: () => "T1" });
  const events = record(firenze, "refused");
  firenze.connect("tasks", () => {});
  await goLive(world, ["tasks"]);
  await (await world.request("/comet/")).answer(answer("uid1/a.1.2", [[WITHDRAWN, "tasks"]]));
  await world.pass(60_000);
  assert.deepEqual(events, [["refused", { path: "tasks", reason: "withdrawn" }]]);
  assert.equal(world.log.filter((line) => line.startsWith("POST")).length, 1);
});

test("a withdrawal is told as such when the token can't be renewed", async () => {
  const world = new World();
  let isAway = false;
  const token = () => {
    if (isAway) throw new Error("the issuer is away");
    return "T1";
  };
  const firenze = world.createFirenze({ token });
  const events = record(firenze, "refused");
  firenze.connect("tasks", () => {});
  await goLive(world, ["tasks"]);
  isAway = true;
  await (await world.request("/comet/")).answer(answer("uid1/a.1.2", [[WITHDRAWN, "tasks"]]));
  await settle();
  assert.deepEqual(events, [["refused", { path: "tasks", reason: "withdrawn" }]]);
});

test("the client begins anew when its uid belongs to somebody else by now", async () => {
  const { world, request } = await start({});
  await request.answer({ reason: "identity" }, 403);
  assert.equal((await world.request("/comet/")).url, "/comet/");
});

test("the client waits and asks again when the person has too many clients", async () => {
  const { world, firenze, request } = await start({});
  const events = record(firenze, "refused");
  await request.answer("", 429);
  await world.pass(500);
  assert.deepEqual([(await world.request("/connect/")).body, events], [["tasks"], []]);
});
