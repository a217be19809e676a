/**
 * What Pomona takes from the world around it: the network, time, chance and the page's own signals.
 *
 * Owns no state. Every other module is given a Runtime, so that a test can be the world.
 */

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

/**
 * Call `onWake` when the page may have been away and is back, `onOffline` when the network has gone.
 *
 * @param {Page} page
 * @param {{onWake: () => void, onOffline: () => void}} listeners
 * @param {AbortSignal} signal Ends the watch.
 */
export function watchPage(page, { onWake, onOffline }, signal) {
  page.window.addEventListener("online", onWake, { signal });
  page.window.addEventListener("offline", onOffline, { signal });
  // Fired when the page comes back from the back/forward cache, where its requests were dropped.
  page.window.addEventListener("pageshow", (event) => "persisted" in event && event.persisted && onWake(), { signal });
  page.document.addEventListener(
    "visibilitychange",
    () => page.document.visibilityState === "visible" && onWake(),
    { signal },
  );
}
