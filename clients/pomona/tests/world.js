/** A world for tests: a clock that only moves when told, chance that is always one half, and a scripted server. */

/**
 * The library under test: its source, or the file that POMONA names, such as the minified one.
 *
 * @type {typeof import("../src/firenze.js")}
 */
const pomona = await import(process.env["POMONA"] ?? "../src/firenze.js");

export const { Firenze, Followed, Messages } = pomona;

/** @param {import("../src/core.js").Options} options */
export function createFirenze(options) {
  const urls = { connectUrl: "/tasks/connect/%@", disconnectUrl: "/tasks/disconnect/%@" };
  return new Firenze({ ...urls, user: null, ...options });
}

/** Let everything that is already due happen: a macrotask comes after all microtasks. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

/**
 * @typedef {import("../src/firenze.js").Firenze} Client
 * @typedef {{url: string, method: string, body: any, headers: Headers, init: RequestInit, signal: AbortSignal, at: number,
 *   answer: (body: unknown, status?: number, headers?: Record<string, string>) => Promise<void>,
 *   fail: () => Promise<void>}} Call
 */

export class World {
  now = 0;
  random = 0.5;
  /** @type {unknown[]} */
  reported = [];
  /** Requests not answered yet, oldest first. @type {Call[]} */
  open = [];
  /** All requests ever made, as "METHOD url". @type {string[]} */
  log = [];
  page = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
    navigator: { onLine: true },
  };
  /** @type {{at: number, callback: () => void}[]} */
  #timers = [];

  /** @param {import("../src/core.js").Options} [options] */
  createFirenze(options) {
    return createFirenze({ runtime: this.runtime(), ...options });
  }

  /** @returns {Partial<import("../src/runtime.js").Runtime>} */
  runtime() {
    return {
      now: () => this.now,
      random: () => this.random,
      report: (error) => this.reported.push(error),
      page: this.page,
      fetch: (url, init) => this.#fetch(url, init),
      setTimeout: (callback, milliseconds) => {
        const timer = { at: this.now + milliseconds, callback };
        this.#timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  /**
   * Let time pass, with everything that becomes due on the way.
   *
   * @param {number} milliseconds
   */
  async pass(milliseconds) {
    const end = this.now + milliseconds;
    await settle();
    for (let timer = this.#nextTimer(end); timer; timer = this.#nextTimer(end)) {
      this.now = Math.max(this.now, timer.at);
      this.#timers = this.#timers.filter((other) => other !== timer);
      timer.callback();
      await settle();
    }
    this.now = end;
  }

  /**
   * Let time go by unnoticed, as when the machine sleeps: timers are late by so much.
   *
   * @param {number} milliseconds
   */
  sleep(milliseconds) {
    this.now += milliseconds;
  }

  /**
   * Return the one open request to a URL that matches, once there is one.
   *
   * @param {string | RegExp} part
   */
  async request(part) {
    await settle();
    const matching = this.open.filter(({ url }) => url.match(part));
    const [call] = matching;
    if (!call || matching.length > 1) throw new Error(`${matching.length} requests to ${part}; made: ${this.log}`);
    return call;
  }

  /** @param {number} end */
  #nextTimer(end) {
    return this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   * @returns {Promise<Response>}
   */
  #fetch(url, init) {
    const { method = "GET", body, signal } = init;
    this.log.push(`${method} ${url}`);
    return new Promise((resolve, reject) => {
      /** @param {() => void} finish */
      const close = (finish) => {
        this.open = this.open.filter((other) => other !== call);
        finish();
        return settle();
      };
      /** @type {Call} */
      const call = {
        url,
        at: this.now,
        method,
        headers: new Headers(init.headers),
        init,
        body: typeof body === "string" ? JSON.parse(body) : undefined,
        signal: /** @type {AbortSignal} */ (signal),
        answer: (answer, status = 200, headers = {}) => {
          const text = typeof answer === "string" ? answer : JSON.stringify(answer);
          const response = new Response(text, { status, headers });
          // As a browser's own has it, whose page is at page.test.
          Object.defineProperty(response, "url", { value: new URL(url, "http://page.test").href });
          return close(() => resolve(response));
        },
        fail: () => close(() => reject(new TypeError("fetch failed"))),
      };
      signal?.addEventListener("abort", () => void close(() => reject(signal.reason)));
      this.open.push(call);
    });
  }
}

/**
 * Make a poll's answer.
 *
 * @param {string} reconnectWith
 * @param {[path: string, message: string][]} [updates]
 * @param {object} [more]
 */
export function answer(reconnectWith, updates = [], more = {}) {
  return { updates: updates.map(([path, message]) => ({ path, message })), reconnectWith, ...more };
}

/**
 * Bring a Firenze to where it holds its second poll with these paths connected and confirmed.
 *
 * @param {World} world
 * @param {string[]} paths Paths that have been given to `connect`.
 */
export async function goLive(world, paths) {
  await (await world.request("/comet/")).answer(answer("uid1/a.1.0"));
  await (await world.request("/connect/")).answer({ connected: paths, refused: [] });
  await (await world.request("/comet/")).answer(
    answer(
      "uid1/a.1.1",
      paths.map((path) => [path, ""]),
    ),
  );
}

/**
 * Record the events of a Firenze, or of what it follows, as [type, detail].
 *
 * @param {EventTarget} target
 * @param {string[]} types
 */
export function record(target, ...types) {
  /** @type {[string, any][]} */
  const events = [];
  for (const type of types) {
    target.addEventListener(type, (event) => events.push([type, /** @type {CustomEvent} */ (event).detail]));
  }
  return events;
}
