import assert from "node:assert/strict";
import test from "node:test";

import { readCursor } from "../cursor.js";
import { DELAY_BOUNDS_MS, LINE_MS, PollLog } from "../poll_log.js";

/** @import { Poll } from "/todos/pomona/core.js" */

/**
 * @param {number} startedAt
 * @param {number} endedAt
 * @param {Partial<Poll>} [more]
 * @returns {Poll}
 */
const poll = (startedAt, endedAt, more) => ({
  startedAt,
  endedAt,
  status: 200,
  outcome: "answer",
  cursor: "a.1.0",
  updates: 0,
  by: "tab",
  ...more,
});

test("a cursor says when the log was begun, and how far the client is", () => {
  const createdAt = new Date("2026-11-01T00:00:00Z");
  const cursor = `${createdAt.getTime().toString(36)}.16.2`;
  assert.deepEqual(readCursor(cursor), { createdAt, sequence: 42, grants: 2 });
  for (const other of ["", "1.2", "a.b.c.d", "A.1.0"]) assert.equal(readCursor(other), null);
});

test("a poll's result tells news, silence, a cut and a failure apart", () => {
  const pollLog = new PollLog(0);
  for (const more of [{ updates: 2 }, {}, { outcome: "interrupted" }, { outcome: "failed" }, { outcome: "hung" }]) {
    pollLog.addPoll(poll(0, 1_000, /** @type {Partial<Poll>} */ (more)));
  }
  assert.deepEqual(
    pollLog.polls.map(({ result, heldMs }) => [result, heldMs]),
    ["news", "quiet", "cut", "failed", "failed"].map((result) => [result, 1_000]),
  );
});

test("the time line shows what is within it, cut at its beginning, and what is under way", () => {
  const pollLog = new PollLog(0);
  pollLog.addPoll(poll(0, 1_000));
  pollLog.addPoll(poll(0, LINE_MS, { updates: 1 }));
  const now = LINE_MS * 1.5;
  assert.deepEqual(pollLog.bars(now), [
    { start: 0, length: 0.5, result: "news" },
    { start: 0.5, length: 0.5, result: "open" },
  ]);
  pollLog.openSince = null;
  assert.equal(pollLog.bars(now).length, 1);
});

test("delays are counted by their bounds, and a clock that is ahead as none", () => {
  const pollLog = new PollLog(0);
  for (const delay of [-3, 5, 6, 1_000, 1_001]) pollLog.addDelay(delay);
  assert.equal(pollLog.delays.length, DELAY_BOUNDS_MS.length + 1);
  assert.deepEqual([pollLog.delays[0], pollLog.delays[1], ...pollLog.delays.slice(-2)], [2, 1, 1, 1]);
});

test("old polls are forgotten", () => {
  const pollLog = new PollLog(0);
  for (let time = 0; time < 600; time += 1) pollLog.addPoll(poll(time, time));
  assert.deepEqual([pollLog.polls.length, pollLog.polls[0]?.poll.startedAt], [500, 100]);
});
