/**
 * Finds the tabs of a browser with the same options and user, so that they can share one poll.
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
 * @property {(text: string) => Promise<string>} digest Makes the name of a lock, which any page of the origin can list:
 *   short, and reveals nothing of the text. Names of channels can't be listed.
 */

/**
 * The input of `Share`, whose result is null when this tab polls for itself.
 *
 * @typedef {object} Shareable
 * @property {Runtime} runtime
 * @property {Credentials} credentials
 * @property {Options} settings
 * @property {string} url Where it polls.
 * @property {Listeners} listeners
 * @typedef {(page: Shareable) => Promise<Tabs | null>} Share
 */

/** Claims that differ between two tokens of the same user. */
const TIMES = new Set(["exp", "iat", "nbf", "jti", "auth_time"]);

/**
 * Return this tab's connection to the tabs that share.
 *
 * @param {Shareable} page
 * @returns {Promise<Tabs | null>} Null when it polls for itself: by its options, or because the browser lacks or
 *   forbids locks and channels.
 */
export async function shareTabs({ runtime, credentials, settings, url, listeners }) {
  const sharing = runtime.sharing ?? findSharing();
  const { connectUrl, disconnectUrl, headers, credentials: cookies, shared } = settings;
  if (!sharing || !shared || !isUserKnown(settings)) return null;
  try {
    // A sandboxed frame has locks, but may not use them.
    await sharing.locks?.query();
    const named = typeof shared === "string" ? shared : settings.user;
    const who = named === undefined ? readClaims(await credentials.current()) : named;
    const digest = await sharing.digest(JSON.stringify([url, connectUrl, disconnectUrl, headers, cookies, who]));
    const name = `pomona-2/${digest}`;
    // Some browsers have channels, but forbid them.
    sharing.createChannel(name).close();
    const createChannel = () => sharing.createChannel(`${name}/locks`);
    const locks = sharing.locks ?? new ChannelLocks(runtime, createChannel, sharing.createId());
    return new Tabs(runtime, { ...sharing, locks }, name, listeners);
  } catch {
    return null;
  }
}

/**
 * Return the browser's locks and channels; channels alone where the page came over plain HTTP.
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
 * Whether tabs of two users can be distinguished: a cookie may decide what they receive, and the page can't read it.
 *
 * @param {Options} settings
 */
function isUserKnown({ shared, user, token, credentials }) {
  return typeof shared === "string" || user !== undefined || token !== undefined || credentials === "omit";
}

/**
 * Return what distinguishes users, also after a renewal of the token: a JWT's lasting claims, or else the whole token.
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
