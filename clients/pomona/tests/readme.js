/** The tables of the README, for the tests that hold the library to them. */

import { readFileSync } from "node:fs";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

/**
 * Return the cells of the first table below a heading, by row and column.
 *
 * @param {string} heading
 * @returns {{event: string, state: string, cell: string}[]}
 */
export function readTable(heading) {
  const section = readme.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = section
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  const [head = [], , ...body] = rows;
  return body.flatMap(([event = "", ...cells]) =>
    cells.map((cell, index) => ({ event, state: head[index + 1] ?? "", cell })),
  );
}
