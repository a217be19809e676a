import assert from "node:assert/strict";
import test from "node:test";

import { ApiError } from "../api.js";
import { changeTask, createTask, removeTask } from "../operations.js";
import { Outbox } from "../outbox.js";
import { MemoryStore } from "../store.js";

/** @import { Operation, Task } from "../operations.js" */

/** @type {Task} */
const milk = {
  guid: "/task/1",
  description: "milk",
  isDone: false,
  version: 1,
  createdAt: "2026-11-30T10:00:00.000Z",
  updatedAt: "2026-11-30T10:00:00.000Z",
  tag: "v1-a",
};
const settled = () => new Promise((resolve) => setImmediate(resolve));
const unreachable = new ApiError("The server can’t be reached.", 0);
const isOther = new ApiError("Other version.", 412);

/** An Outbox whose requests are answered by the test. */
class Bench {
  /** @type {{call: unknown[], resolve: (value?: any) => void, reject: (error: Error) => void}[]} */
  sent = [];
  /** @type {string[]} */
  told = [];
  store = new MemoryStore();
  /** @param {unknown[]} call @returns {Promise<any>} */
  #send = (...call) => new Promise((resolve, reject) => this.sent.push({ call, resolve, reject }));
  outbox = this.open();

  open() {
    /** @type {Promise<unknown>} */
    let last = Promise.resolve();
    return new Outbox({
      store: Promise.resolve(this.store),
      api: {
        create: (...args) => this.#send("create", ...args),
        change: (...args) => this.#send("change", ...args),
        remove: (...args) => this.#send("remove", ...args),
        read: (...args) => this.#send("read", ...args),
      },
      lock: (work) => {
        const result = last.then(work);
        last = result.catch(() => {});
        return result;
      },
      backoff: { next: () => 1, reset: () => {} },
      channel: { postMessage: () => {}, onmessage: null },
      listeners: {
        onChange: () => {},
        onSaved: ({ id }, answer) => void this.told.push(`saved ${id} ${answer?.version ?? "-"}`),
        onFound: ({ version }) => void this.told.push(`found ${version}`),
        onConflict: ({ id }) => void this.told.push(`conflict ${id}`),
        onOtherUser: () => void this.told.push("other user"),
        onRefused: ({ id }, message) => void this.told.push(`refused ${id} ${message}`),
      },
    });
  }

  get waiting() {
    return this.outbox.operations.map(({ id }) => id);
  }

  /** @param {Operation[]} operations */
  async add(...operations) {
    for (const operation of operations) await this.outbox.add(operation);
    await settled();
  }

  /**
   * Answer the only request that is under way.
   *
   * @param {unknown} answer An Error is a failure.
   */
  async answer(answer) {
    const [request] = this.sent.splice(0);
    assert.ok(request);
    if (answer instanceof Error) request.reject(answer);
    else request.resolve(answer);
    await settled();
    return request.call;
  }
}

test("operations are sent one after the other, each on top of the last answer", async () => {
  const bench = new Bench();
  await bench.add(createTask("a", { description: "salt" }));
  await bench.add({ ...changeTask("b", milk, { isDone: true }), guid: "new:a" });
  assert.equal(bench.sent.length, 1);
  const salt = { ...milk, guid: "/task/7" };
  assert.deepEqual(await bench.answer(salt), ["create", { description: "salt" }, "a"]);
  assert.deepEqual(await bench.answer({ ...salt, version: 2 }), ["change", { isDone: true }, salt]);
  assert.deepEqual([bench.waiting, bench.told], [[], ["saved a 1", "saved b 2"]]);
});

test("an operation waits, in the store too, and is tried again when the server can't be reached", async () => {
  const bench = new Bench();
  await bench.add(createTask("a", { description: "salt" }));
  await bench.answer(unreachable);
  assert.deepEqual([bench.waiting, (await bench.store.read()).length, bench.told], [["a"], 1, []]);
  while (bench.sent.length === 0) await settled();
  assert.deepEqual((await bench.answer(milk))[2], "a");
  assert.deepEqual([bench.waiting, await bench.store.read()], [[], []]);
});

test("what another page has left is sent when one opens", async () => {
  const bench = new Bench();
  await bench.store.update(() => [removeTask("a", milk)]);
  bench.outbox = bench.open();
  await settled();
  assert.deepEqual(await bench.answer(undefined), ["remove", milk]);
  assert.deepEqual(bench.told, ["saved a -"]);
});

test("a refused operation is taken back and told, and the next one sent", async () => {
  const bench = new Bench();
  await bench.add(createTask("a", { description: "" }), changeTask("b", milk, { isDone: true }));
  await bench.answer(new ApiError("Too short.", 422));
  assert.deepEqual([bench.waiting, bench.told], [["b"], ["refused a Too short."]]);
  assert.equal((await bench.answer({ ...milk, version: 2 }))[0], "change");
});

test("a change is sent again on top of what others changed meanwhile when both can be kept", async () => {
  const bench = new Bench();
  await bench.add(changeTask("a", milk, { description: "oat" }));
  await bench.answer(isOther);
  const theirs = { ...milk, isDone: true, version: 5, tag: "v5-a" };
  assert.deepEqual(await bench.answer(theirs), ["read", "/task/1"]);
  assert.deepEqual(await bench.answer({ ...milk, version: 6 }), ["change", { description: "oat" }, theirs]);
  assert.deepEqual(bench.told, ["found 5", "saved a 6"]);
});

test("a change is done when the server has it, though its answer was lost", async () => {
  const bench = new Bench();
  await bench.add(changeTask("a", milk, { isDone: true }));
  await bench.answer(isOther);
  await bench.answer({ ...milk, isDone: true, version: 2, tag: "v2-a" });
  assert.deepEqual([bench.waiting, bench.told], [[], ["found 2"]]);
});

test("the user decides when the same was changed, and other tasks go on meanwhile", async () => {
  const bench = new Bench();
  const bread = { ...milk, guid: "/task/2" };
  await bench.add(changeTask("a", milk, { description: "oat" }), changeTask("b", bread, { isDone: true }));
  await bench.answer(isOther);
  const theirs = { ...milk, description: "rice", version: 2, tag: "v2-a" };
  await bench.answer(theirs);
  assert.deepEqual((await bench.answer({ ...bread, version: 2 }))[2], bread);
  assert.deepEqual([bench.waiting, bench.told], [["a"], ["found 2", "conflict a", "saved b 2"]]);
  const [asking] = bench.outbox.operations;
  assert.ok(asking);
  await bench.outbox.decide(asking, "mine");
  await settled();
  assert.deepEqual(await bench.answer({ ...milk, version: 3 }), ["change", { description: "oat" }, theirs]);
  assert.deepEqual(bench.waiting, []);
});

test("an operation waits when the server goes away before it has said what others did", async () => {
  const bench = new Bench();
  await bench.add(changeTask("a", milk, { isDone: true }));
  await bench.answer(isOther);
  await bench.answer(unreachable);
  assert.deepEqual([bench.waiting, bench.told], [["a"], []]);
  while (bench.sent.length === 0) await settled();
  assert.equal((await bench.answer(milk))[0], "change");
});

test("only what has not been sent can be taken back", async () => {
  const bench = new Bench();
  await bench.add(removeTask("a", milk), removeTask("b", { ...milk, guid: "/task/2" }));
  const isBack = bench.outbox.cancel("a");
  await bench.answer(undefined);
  await bench.answer(undefined);
  assert.equal(await isBack, false);
  await bench.add(removeTask("c", milk));
  await bench.answer(unreachable);
  assert.equal(await bench.outbox.cancel("c"), true);
  assert.deepEqual(bench.waiting, []);
});

test("news of one's own doing is known as such while it is on its way", async () => {
  const bench = new Bench();
  const salt = { ...milk, guid: "/task/9", description: "salt" };
  assert.deepEqual([bench.outbox.isOwn(milk), bench.outbox.isOwn(salt)], [false, false]);
  await bench.add(createTask("a", { description: "salt" }), changeTask("b", milk, { isDone: true }));
  assert.deepEqual([bench.outbox.isOwn(milk), bench.outbox.isOwn(salt), bench.outbox.arrived], [true, true, "a"]);
  await bench.answer(salt);
  assert.deepEqual([bench.outbox.isOwn(salt), bench.outbox.arrived], [false, null]);
  await bench.answer(milk);
});

test("an operation is shown before the store has it, and is on top of what its creation has become by then", async () => {
  const bench = new Bench();
  await bench.add(createTask("a", { description: "salt" }));
  const salt = { ...milk, guid: "/task/9", description: "salt" };
  const update = bench.store.update.bind(bench.store);
  /** @type {() => void} */
  let write = () => {};
  const disk = new Promise((resolve) => (write = () => resolve(null)));
  bench.store.update = async (change) => {
    if (bench.waiting.includes("b")) await disk;
    return update(change);
  };
  const adding = bench.outbox.add({ ...changeTask("b", milk, { isDone: true }), guid: "new:a" });
  assert.deepEqual(bench.waiting, ["a", "b"]);
  const creating = bench.sent.splice(0);
  creating[0]?.resolve(salt);
  await settled();
  write();
  await adding;
  await settled();
  assert.deepEqual(await bench.answer({ ...salt, version: 2 }), ["change", { isDone: true }, salt]);
  assert.deepEqual(bench.waiting, []);
});

test("what was done to a task that was never created is the user's to keep, and is not sent", async () => {
  const bench = new Bench();
  await bench.add({ ...changeTask("b", milk, { isDone: true }), guid: "new:lost" });
  assert.deepEqual([bench.sent.length, bench.told], [0, ["conflict b"]]);
});

test("an operation that the store can't keep is taken back, and the caller told", async () => {
  const bench = new Bench();
  bench.store.update = () => Promise.reject(new Error("full"));
  await assert.rejects(bench.outbox.add(removeTask("a", milk)), { message: "full" });
  assert.deepEqual(bench.waiting, []);
});

test("what was done to a task is not done to another one that has its guid", async () => {
  const another = { ...milk, description: "salt", createdAt: "2026-11-30T11:00:00.000Z", tag: "v1-b" };
  const bench = new Bench();
  await bench.add(removeTask("a", milk));
  await bench.answer(isOther);
  assert.deepEqual(await bench.answer(another), ["read", "/task/1"]);
  assert.deepEqual([bench.waiting, bench.sent, bench.told], [[], [], ["found 1"]]);
  await bench.add(changeTask("b", milk, { isDone: true }));
  await bench.answer(isOther);
  await bench.answer(another);
  assert.deepEqual([bench.sent, bench.told.at(-1)], [[], "conflict b"]);
  assert.deepEqual(bench.outbox.operations[0]?.conflict, { theirs: null });
});

test("an operation that an older page has kept without a tag is sent with that of the task, which is as it was seen", async () => {
  const bench = new Bench();
  await bench.add(removeTask("a", { ...milk, tag: undefined }));
  await bench.answer(isOther);
  await bench.answer(milk);
  assert.deepEqual(await bench.answer(undefined), ["remove", milk]);
  assert.deepEqual(bench.waiting, []);
});

test("an operation waits when a replica of another version does not know the tag of the task as it is", async () => {
  const bench = new Bench();
  await bench.add(removeTask("a", milk));
  await bench.answer(isOther);
  await bench.answer(milk);
  assert.deepEqual([bench.waiting, bench.outbox.operations[0]?.conflict], [["a"], null]);
  while (bench.sent.length === 0) await settled();
  await bench.answer(undefined);
});

test("what a user did waits for them, and is not sent or taken back, when another one is signed in", async () => {
  const bench = new Bench();
  await bench.add(createTask("a", { description: "salt" }), removeTask("b", milk));
  await bench.answer(new ApiError("Somebody else is signed in.", -1));
  assert.deepEqual([bench.waiting, (await bench.store.read()).length, bench.told], [["a", "b"], 2, ["other user"]]);
  while (bench.sent.length === 0) await settled();
  await bench.answer(milk);
  await bench.answer(undefined);
});
