/**
 * What Pomona takes from the world around it: the network, time, chance and the page's own signals.
 *
 * Owns no state. Every other module is given a Runtime, so that a test can be the world.
 */

/** @import { Sharing } from "./sharing.js" */

/**
 * @typedef {object} Page
 * @property {EventTarget} window
 * @property {EventTarget & {visibilityState: string}} document
 * @property {{onLine: boolean}} navigator
 */

/**
 * @typedef {object} Runtime
 * @property {(url: string, init: RequestInit) => Promise<Response>} fetch
 * @property {() => number} now Milliseconds of wall time: it goes on while a laptop sleeps, a monotonic clock may not.
 * @property {(callback: () => void, milliseconds: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random At least 0, below 1.
 * @property {(error: unknown) => void} report Told of what a handler threw.
 * @property {Page | null} page Null outside a browser.
 * @property {Sharing} [sharing] What tabs share with, when it is not the browser's own.
 */

/**
 * Return the real world, with `changes` put in its place where given.
 *
 * @param {Partial<Runtime>} [changes]
 * @returns {Runtime}
 */
export function createRuntime(changes = {}) {
  return {
    // Looked up at each call, so that a page's own wrapper of fetch is used; and never called with another `this`.
    fetch: (url, init) => globalThis.fetch(url, init),
    now: () => Date.now(),
    setTimeout: (callback, milliseconds) => globalThis.setTimeout(callback, milliseconds),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    random: () => Math.random(),
    report: (error) => (globalThis.reportError ?? console.error)(error),
    page: globalThis.document ? { window: globalThis, document, navigator } : null,
    ...changes,
  };
}

/** The page looks at the clock so often; a time that is longer by so much was spent asleep. */
const TICK_MS = 5_000;
const SLEPT_MS = 10_000;

/**
 * Tell of what the browser does to the page.
 *
 * @param {Runtime & {page: Page}} runtime
 * @param {object} listeners
 * @param {() => void} listeners.onWake The page may have been away and is back.
 * @param {() => void} listeners.onOffline The network has gone.
 * @param {() => void} listeners.onFreeze The page is being put aside: nothing of it will run.
 * @param {() => void} listeners.onThaw It runs again, or is seen again.
 * @param {() => void} listeners.onHide Nobody sees it.
 * @param {AbortSignal} signal Ends the watch.
 */
export function watchPage(runtime, { onWake, onOffline, onFreeze, onThaw, onHide }, signal) {
  const { window, document } = runtime.page;
  const isVisible = () => document.visibilityState === "visible";
  /** @param {EventTarget} target @param {Record<string, (event: Event) => void>} listeners */
  const listen = (target, listeners) => {
    for (const type in listeners) target.addEventListener(type, listeners[type] ?? null, { signal });
  };
  listen(window, {
    online: onWake,
    offline: onOffline,
    // Into the back/forward cache, which takes no page that holds a lock; and out of it.
    pagehide: onFreeze,
    pageshow: (event) => "persisted" in event && event.persisted && onThaw(),
  });
  listen(document, { freeze: onFreeze, resume: onThaw, visibilitychange: () => (isVisible() ? onThaw : onHide)() });
  // A laptop that slept tells nobody. A hidden page's timers are late anyway, so only a visible one looks.
  let lookedAt = runtime.now();
  const look = () => {
    if (signal.aborted) return;
    if (isVisible() && runtime.now() - lookedAt > TICK_MS + SLEPT_MS) onWake();
    lookedAt = runtime.now();
    timer = runtime.setTimeout(look, TICK_MS);
  };
  let timer = runtime.setTimeout(look, TICK_MS);
  signal.addEventListener("abort", () => runtime.clearTimeout(timer));
}
