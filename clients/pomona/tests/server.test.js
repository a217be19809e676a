/** The same library over a real network: Node's fetch against a small HTTP server that holds its polls. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import test from "node:test";

import { answer, Firenze } from "./world.js";

/** The busier the machine, the longer: roots_devstack/deadlines.py measures it. */
const timeout = 20_000 * Number(process.env.DEADLINE_FACTOR ?? 1);

/** @typedef {import("node:http").IncomingMessage} Incoming @typedef {import("node:http").ServerResponse} Outgoing */

/** A poll server for one client: keeps what is published until a poll can take it. */
class SmallServer {
  /** @type {[string, string][]} */
  #log = [];
  /** @type {{response: Outgoing, from: number} | null} */
  #held = null;
  /** @type {number[]} */
  statuses = [];
  #server = createServer((request, response) => this.#route(request, response));

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    const address = this.#server.address();
    assert.ok(address && typeof address === "object");
    return address.port;
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** @param {string} path @param {string} message */
  publish(path, message) {
    this.#log.push([path, message]);
    this.#flush();
  }

  /** @param {Incoming} request @param {Outgoing} response */
  #route(request, response) {
    const [, first = "", uid, from] = String(request.url).split("/");
    const status = first === "connect" ? undefined : this.statuses.shift();
    if (first === "connect") void this.#connect(request, response);
    else if (status) response.writeHead(status).end();
    else if (!uid) response.end(JSON.stringify(answer("uid1/0")));
    else this.#hold(response, Number(from));
  }

  /** @param {Incoming} request @param {Outgoing} response */
  async #connect(request, response) {
    const body = await new Response(/** @type {any} */ (request)).json();
    response.end(JSON.stringify({ connected: body, refused: [] }));
    for (const path of body) this.publish(path, "");
  }

  /** @param {Outgoing} response @param {number} from */
  #hold(response, from) {
    this.#held = { response, from };
    this.#flush();
  }

  #flush() {
    if (!this.#held || this.#held.from >= this.#log.length) return;
    this.#held.response.end(JSON.stringify(answer(`uid1/${this.#log.length}`, this.#log.slice(this.#held.from))));
    this.#held = null;
  }
}

/**
 * Start server and client; both end with the test.
 *
 * @param {import("node:test").TestContext} context
 */
async function startBoth(context) {
  const server = new SmallServer();
  const port = await server.start();
  const firenze = new Firenze({
    host: "127.0.0.1",
    port,
    connectUrl: `http://127.0.0.1:${port}/connect/%@`,
    runtime: { random: () => 0 },
  });
  context.after(() => {
    firenze.close();
    server.stop();
  });
  return { server, firenze };
}

/**
 * Resolve with the messages of a path as soon as there are `count`.
 *
 * @param {import("./world.js").Client} firenze
 * @param {string} path
 * @param {number} count
 * @returns {Promise<string[]>}
 */
function collect(firenze, path, count) {
  /** @type {string[]} */
  const messages = [];
  return new Promise((resolve) => {
    firenze.connect(path, (/** @type {string} */ _path, /** @type {string} */ message) => {
      if (messages.push(message) === count) resolve(messages);
    });
  });
}

test("100 messages arrive once and in order over real HTTP", { timeout }, async (context) => {
  const { server, firenze } = await startBoth(context);
  const all = collect(firenze, "tasks", 101);
  firenze.connect("tasks", (/** @type {string} */ _path, /** @type {string} */ message) => {
    if (message === "") for (let number = 1; number <= 100; number += 1) server.publish("tasks", String(number));
  });
  assert.deepEqual(await all, ["", ...Array.from({ length: 100 }, (_, index) => String(index + 1))]);
});

test("nothing is lost when polls fail in between", { timeout }, async (context) => {
  const { server, firenze } = await startBoth(context);
  server.statuses.push(503, 502);
  const all = collect(firenze, "tasks", 3);
  firenze.connect("tasks", (/** @type {string} */ _path, /** @type {string} */ message) => {
    if (message === "") server.publish("tasks", "first");
    if (message === "first") {
      server.statuses.push(500);
      server.publish("tasks", "second");
    }
  });
  assert.deepEqual(await all, ["", "first", "second"]);
});
