import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { readDescription } from "../description.js";

/** What the task API is tested with too. @type {{text: string, empty: boolean}[]} */
const vectors = JSON.parse(readFileSync(new URL("../../../tests/vectors/empty_descriptions.json", import.meta.url), "utf8"));

test("a text is an empty description where the task API says so, and no other is", () => {
  for (const { text, empty } of vectors) assert.equal(readDescription(text) === "", empty, JSON.stringify(text));
});

test("a description has no white space around it, and keeps what is invisible within", () => {
  assert.equal(readDescription("  a\u200db \n"), "a\u200db");
});
