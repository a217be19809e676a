/**
 * The parts of the environment that Pomona uses: the network, the clock, random numbers and the page's events.
 *
 * Owns no state. Every other module gets a Runtime, so that tests can replace it.
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
 * @property {() => number} now Wall-clock time in milliseconds. It advances while a laptop sleeps; a monotonic clock
 *   may not.
 * @property {(callback: () => void, milliseconds: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random At least 0, below 1.
 * @property {(error: unknown) => void} report Receives the errors of handlers.
 * @property {Page | null} page Null outside a browser.
 * @property {Sharing} [sharing] Replaces the browser's own locks and channels.
 */

/**
 * Return the browser's environment, with the given parts replaced.
 *
 * @param {Partial<Runtime>} [changes]
 * @returns {Runtime}
 */
export function createRuntime(changes = {}) {
  return {
    // Looked up at each call, so that a page's wrapper of fetch is used, and called without another `this`.
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

/** How often the page reads the clock, and the extra time that means that the machine slept. */
const TICK_MS = 5_000;
const SLEPT_MS = 10_000;

/**
 * Call the listeners when the browser suspends, resumes, hides or shows the page, or the network changes.
 *
 * @param {Runtime & {page: Page}} runtime
 * @param {object} listeners
 * @param {() => void} listeners.onWake The page may have been suspended, and runs again.
 * @param {() => void} listeners.onOffline The network has gone.
 * @param {() => void} listeners.onFreeze The page is being suspended.
 * @param {() => void} listeners.onThaw The page runs again, or is visible again.
 * @param {() => void} listeners.onHide The page is hidden.
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
    // Into and out of the back/forward cache, which does not accept a page that holds a lock.
    pagehide: onFreeze,
    pageshow: (event) => "persisted" in event && event.persisted && onThaw(),
  });
  listen(document, { freeze: onFreeze, resume: onThaw, visibilitychange: () => (isVisible() ? onThaw : onHide)() });
  // A laptop that slept sends no event. A hidden page's timers are late anyway, so only a visible one checks.
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
