/**
 * Makes what the npm package has beside its source: types, minified files and the licence.
 *
 *     node scripts/build.js [folder]     the package's own folder by default
 *
 * Prints how large the minified files are.
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { buildSync } from "esbuild";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const folder = process.argv[2] ?? PACKAGE;
/** Each minified file and the module that it is made from. */
const FILES = { pomona: "firenze", "pomona-core": "core" };
/** What the parts call each other, and no page, no browser and no other tab sees. */
const INTERNAL = /^(?:(?:on|share|check|mark|lose|watch|cut|use)[A-Z]\w*|floorMs|is(?:Connect|Confirmed|Other|Unconnected|Unheard)|getState|activate|current|deliver|listeners|reset|restart|settings|trips|unwant|wanted|withdraw)$/;
const NOT_INTERNAL = /^(?:onLine|onConfirmed)$/;

mkdirSync(folder, { recursive: true });
execFileSync(process.execPath, [
  `${PACKAGE}/node_modules/typescript/bin/tsc`,
  "-p",
  `${PACKAGE}/tsconfig.types.json`,
  "--outDir",
  `${folder}/types`,
]);
copyFileSync(`${PACKAGE}/../../LICENSE`, `${folder}/LICENSE`);
for (const [name, module] of Object.entries(FILES)) {
  const outfile = `${folder}/dist/${name}.min.js`;
  buildSync({
    entryPoints: [`${PACKAGE}/src/${module}.js`],
    outfile,
    bundle: true,
    minify: true,
    sourcemap: true,
    format: "esm",
    target: "es2022",
    mangleProps: INTERNAL,
    reserveProps: NOT_INTERNAL,
  });
  const text = readFileSync(outfile, "utf8").replace(/\n\/\/# sourceMappingURL.*/, "");
  console.log(`${name}.min.js: ${text.length} bytes, ${gzipSync(text, { level: 9 }).length} gzipped`);
}
