/**
 * Finds the tabs of a browser that hear the same as the same person, so that they can share one poll.
 *
 * Source: README.md, Tabs.
 */

import { ChannelLocks } from "./locks.js";
import { Tabs } from "./tabs.js";

/** @import { Options } from "./core.js" */
/** @import { Credentials } from "./credentials.js" */
/** @import { Runtime } from "./runtime.js" */
/** @import { Listeners } from "./tabs.js" */

/**
 * What tabs share with.
 *
 * @typedef {object} Sharing
 * @property {LockManager | null} locks Null where the browser has none: tabs agree through a channel then.
 * @property {(name: string) => BroadcastChannel} createChannel
 * @property {() => string} createId
 * @property {(text: string) => Promise<string>} digest What may be in the name of a lock, which any page of the origin can
 *   list: short, and tells nothing of the text. Names of channels can't be listed.
 */

/**
 * What finding tabs to share with takes; its outcome is null when this one is to poll for itself.
 *
 * @typedef {object} Shareable
 * @property {Runtime} runtime
 * @property {Credentials} credentials
 * @property {Options} settings
 * @property {string} url Where it polls.
 * @property {Listeners} listeners
 * @typedef {(page: Shareable) => Promise<Tabs | null>} Share
 */

/** Claims that differ between two tokens of the same person. */
const TIMES = new Set(["exp", "iat", "nbf", "jti", "auth_time"]);

/**
 * Return this tab as one of those that share.
 *
 * @param {Shareable} page
 * @returns {Promise<Tabs | null>} Null when it is to poll for itself: it wants to, or the browser can't or won't.
 */
export async function shareTabs({ runtime, credentials, settings, url, listeners }) {
  const sharing = runtime.sharing ?? findSharing();
  const { connectUrl, disconnectUrl, headers, credentials: cookies, shared } = settings;
  if (!sharing || !shared) return null;
  try {
    // A sandboxed frame has locks too, and may not use them.
    await sharing.locks?.query();
    const who = shared === true ? readClaims(await credentials.current()) : shared;
    const digest = await sharing.digest(JSON.stringify([url, connectUrl, disconnectUrl, headers, cookies, who]));
    const name = `pomona-2/${digest}`;
    // Some browsers have channels too and forbid them.
    sharing.createChannel(name).close();
    const createChannel = () => sharing.createChannel(`${name}/locks`);
    const locks = sharing.locks ?? new ChannelLocks(runtime, createChannel, sharing.createId());
    return new Tabs(runtime, { ...sharing, locks }, name, listeners);
  } catch {
    return null;
  }
}

/**
 * Return what the browser has: everything since 2022, and channels alone where the page came over plain http.
 *
 * @returns {Sharing | null}
 */
function findSharing() {
  if (!globalThis.document || !globalThis.BroadcastChannel) return null;
  return {
    locks: navigator.locks ?? null,
    createChannel: (name) => new BroadcastChannel(name),
    // Not randomUUID, which is for secure contexts only.
    createId: () => crypto.getRandomValues(new Uint32Array(4)).join("-"),
    digest: async (text) => {
      if (!crypto.subtle) return text;
      const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
      return btoa(String.fromCharCode(...new Uint8Array(bytes)));
    },
  };
}

/**
 * Return what tells people apart however often their token is renewed: a JWT's lasting claims, or else all of it.
 *
 * @param {string | null} token
 */
function readClaims(token) {
  try {
    const payload = String(token).split(".")[1] ?? "";
    const claims = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
    return Object.entries(claims).filter(([name]) => !TIMES.has(name));
  } catch {
    return token;
  }
}
