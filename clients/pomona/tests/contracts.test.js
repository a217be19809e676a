/** Pomona agrees with the services: their contracts, as test vectors (`python -m tests.vectors.contracts`). */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { checkPath, MAX_FLOOR_MS, readAnswer, WITHDRAWN_PATH } from "../src/answers.js";
import { MAX_PATHS } from "../src/connector.js";
import { WATCHDOG_MS } from "../src/poller.js";
import { SILENCE_MS } from "../src/tabs.js";

const vectors = JSON.parse(readFileSync(new URL("../../../tests/vectors/contracts.json", import.meta.url), "utf8"));

test("a text is a path where the services say so, and no other is", () => {
  for (const { text, is_path } of vectors.paths) {
    const check = () => checkPath(text);
    if (is_path) assert.doesNotThrow(check, JSON.stringify(text));
    else assert.throws(check, TypeError, JSON.stringify(text));
  }
});

test("the uid is read from every position that a replica may answer", () => {
  for (const { reconnectWith, uid } of vectors.positions) {
    const answer = readAnswer(JSON.stringify({ updates: [], reconnectWith }));
    assert.deepEqual([answer?.reconnectWith, answer?.uid], [reconnectWith, uid]);
  }
});

test("limits and times are those of the services", () => {
  assert.equal(WITHDRAWN_PATH, vectors.withdrawn_path);
  assert.equal(MAX_PATHS, vectors.limits.paths_of_client);
  assert.equal(WATCHDOG_MS, vectors.seconds.answer * 1_000);
  assert.equal(MAX_FLOOR_MS, vectors.seconds.longest_retry * 1_000);
  // A leader says something with each answer: the other tabs wait for as long as it may.
  assert.ok(SILENCE_MS >= WATCHDOG_MS);
});
