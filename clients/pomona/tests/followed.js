/** A list that is followed, its server, and what the page shows of it. */

import { answer, record, World } from "./world.js";

/** @typedef {{guid: string, version: number, DELETE?: boolean}} Task */

/** @param {string} guid @param {number} version @returns {Task} */
export const task = (guid, version) => ({ guid, version });

/**
 * Follow `tasks`, up to the request for the list.
 *
 * @param {Partial<import("../src/follow.js").FollowOptions<Task>>} [options]
 */
export async function start(options) {
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
export async function say(world, cursor, ...items) {
  const updates = items.map((item) => /** @type {[string, string]} */ (["tasks", JSON.stringify(item)]));
  await (await world.request("/comet/uid1/")).answer(answer(`uid1/${cursor}`, updates));
}

/** @param {World} world @param {unknown} body @param {number} [status] */
export const list = async (world, body, status) => (await world.request("/list")).answer(body, status);

/** @param {{items: Map<unknown, Task>}} followed */
export const shown = ({ items }) => [...items.values()];
