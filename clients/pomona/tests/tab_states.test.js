/** The table of tabs in the README, cell by cell. */

import assert from "node:assert/strict";
import test from "node:test";

import { Tabs } from "../src/tabs.js";
import { readTable } from "./readme.js";
import { settle, World } from "./world.js";

const NEVER = "–";
const table = readTable("Tabs");

/** @param {string} reconnectWith */
const answer = (reconnectWith) => ({ updates: [], gaps: [], reconnectWith, uid: "uid1", retryMs: 0 });

/** One tab among others that are only what it hears and says. */
class Scene {
  world = new World();
  /** Kinds of the messages that it has posted. @type {string[]} */
  said = [];
  /** What it told the rest of the library. @type {string[]} */
  did = [];
  /** Requests for the lock of the one that leads. @type {{options: any, callback: any, reject: any}[]} */
  wishes = [];
  /** Callbacks of requests for other tabs' locks. @type {(() => void)[]} */
  watches = [];
  /** @type {any} */
  channel = null;
  /** The wish that was granted. @type {Scene["wishes"][number] | undefined} */
  held;
  /** The last term that another tab led in. */
  term = 4;
  tabs;

  constructor() {
    const runtime = /** @type {any} */ (this.world.runtime());
    const sharing = /** @type {any} */ ({
      createId: () => "me",
      createChannel: () => this.#open(),
      locks: { request: (/** @type {any[]} */ ...parts) => this.#request(parts) },
    });
    const told = (/** @type {string} */ name) => () => void this.did.push(name);
    this.tabs = new Tabs(runtime, sharing, "group", {
      onLead: told("polls"),
      onFollow: told("rests"),
      onAnswer: told("takes"),
      onJoin: ({ isGap }) => this.did.push(isGap ? "gap" : "joins"),
      onState: () => {},
      onRefused: () => {},
      onPoll: () => {},
      onWake: told("wakes"),
      connector: { want: told("wants"), unwant: told("unwants"), confirmed: () => [] },
      getState: () => "live",
    });
    this.tabs.join();
  }

  /** Have the tab hear a message. @param {object} message */
  hear(message) {
    assert.ok(this.channel, "it hears nothing");
    this.channel.onmessage({ data: { tab: "other", term: this.term, ...message } });
  }

  /** @param {string} position @param {object} [more] */
  hearLead(position, more) {
    this.hear({ kind: "lead", position, state: "live", confirmed: [], wants: { me: [] }, ...more });
  }

  /** @param {string} from @param {string} reached @param {object} [more] */
  hearAnswer(from, reached, more) {
    this.hear({ kind: "answer", from, answer: answer(reached), ...more });
  }

  /** @param {object} [more] */
  hearWant(more) {
    this.hear({ kind: "want", paths: [], asks: [], isAsking: false, isAwake: false, watches: false, ...more });
  }

  grantLead() {
    const wish = this.wishes.pop();
    assert.ok(wish && !wish.options.signal?.aborted, "it does not ask for the lead");
    this.held = wish;
    void wish.callback({});
  }

  #open() {
    const postMessage = (/** @type {any} */ { kind }) => this.said.push(kind);
    this.channel = { postMessage, close: () => (this.channel = null) };
    return this.channel;
  }

  /** @param {any[]} parts */
  #request([name, options, callback]) {
    if (name === "group/me") return Promise.resolve(callback({}));
    if (name !== "group") return Promise.resolve(void this.watches.push(callback));
    if (options.steal) this.did.push("steals");
    return new Promise((_resolve, reject) => this.wishes.push({ options, callback, reject }));
  }
}

/** How a tab comes into each state, at position `uid1/3` having passed `uid1/2`. @type {Record<string, (scene: Scene) => void>} */
const STATES = {
  asking: (scene) => {
    STATES["following"]?.(scene);
    scene.tabs.wake();
  },
  following: (scene) => {
    scene.hearLead("uid1/1");
    scene.hearAnswer("uid1/1", "uid1/2");
    scene.hearAnswer("uid1/2", "uid1/3");
  },
  leading: (scene) => {
    STATES["following"]?.(scene);
    scene.grantLead();
  },
  away: (scene) => {
    STATES["following"]?.(scene);
    scene.tabs.leave();
  },
};

/** @type {Record<string, (scene: Scene) => unknown>} */
const EVENTS = {
  "the lead is granted": (scene) => scene.grantLead(),
  "the lead is stolen": (scene) => {
    assert.ok(scene.held);
    scene.held.reject(new DOMException("stolen", "AbortError"));
  },
  "`lead` where it is itself": (scene) => scene.hearLead("uid1/3", { term: 9 }),
  "`lead` where it has been": (scene) => scene.hearLead("uid1/2", { term: 9 }),
  "`lead` elsewhere": (scene) => scene.hearLead("uid1/9", { term: 9 }),
  "`lead` elsewhere, who can't help": (scene) => scene.hearLead("uid1/9", { term: 9, lost: "me" }),
  "`answer` from where it is": (scene) => scene.hearAnswer("uid1/3", "uid1/4", { term: 9 }),
  "`answer` from where it has been": (scene) => scene.hearAnswer("uid1/2", "uid1/4", { term: 9 }),
  "`answer` that it has": (scene) => scene.hearAnswer("uid1/1", "uid1/3", { term: 9 }),
  "`answer` from elsewhere": (scene) => scene.hearAnswer("uid1/8", "uid1/9", { term: 9 }),
  "anything of an earlier term": (scene) => scene.hearAnswer("uid1/3", "uid1/4", { term: 3 }),
  "a repeat for another tab": (scene) => scene.hearAnswer("uid1/3", "uid1/4", { term: 9, to: "other" }),
  "`want` with a new path": (scene) => scene.hearWant({ paths: ["tasks"] }),
  "`want` that asks": (scene) => scene.hearWant({ isAsking: true }),
  "`need` from where it has been": (scene) => scene.hear({ kind: "need", after: "uid1/1" }),
  "`need` from elsewhere": (scene) => scene.hear({ kind: "need", after: "uid1/0" }),
  "another tab is gone": (scene) => {
    scene.hearWant({ paths: ["tasks"] });
    assert.ok(scene.watches.length > 0, "it does not watch others");
    scene.did.length = scene.said.length = 0;
    for (const gone of scene.watches) gone();
  },
  "3 s of silence": (scene) => scene.world.pass(3_000),
  "45 to 50 s of silence": (scene) => scene.world.pass(47_500),
  "the user looks": (scene) => scene.tabs.wake(),
  "the page is frozen": (scene) => scene.tabs.leave(),
  "the page is thawed": (scene) => {
    assert.equal(scene.channel, null, "it was not frozen");
    scene.tabs.join();
  },
};

/** Whether it leads, asks or follows shows in what it does when nothing is heard. @param {Scene} scene */
async function findState(scene) {
  scene.said.length = scene.did.length = 0;
  scene.tabs.wake();
  if (!scene.channel) return "away";
  const asks = scene.said.includes("want");
  scene.hearWant({ isAsking: true, tab: "third", term: 99 });
  assert.notEqual(asks, scene.said.includes("lead"));
  return asks ? "following" : "leading";
}

test("the table has every state and every event", () => {
  assert.deepEqual(new Set(table.map(({ state }) => state)), new Set(Object.keys(STATES)));
  assert.deepEqual(new Set(table.map(({ event }) => event)), new Set(Object.keys(EVENTS)));
});

for (const { event, state, cell } of table) {
  test(`${event}, while ${state}: ${cell}`, async () => {
    const scene = new Scene();
    STATES[state]?.(scene);
    await settle();
    scene.said.length = scene.did.length = 0;
    const happen = async () => {
      await EVENTS[event]?.(scene);
      await settle();
    };
    if (cell === NEVER) return assert.rejects(happen);
    await happen();
    const [next = "", ...rest] = cell.split(", ");
    const [did, said] = [[...scene.did], [...new Set(scene.said)].map((kind) => `says \`${kind}\``)];
    const isFollowing = next === "asking" || next === "following";
    assert.deepEqual([...did, ...said].sort(), rest.sort());
    const isAsking = said.includes("says `want`");
    assert.equal(await findState(scene), isFollowing ? "following" : next);
    if (isFollowing && state !== "asking") assert.equal(isAsking, next === "asking");
  });
}
