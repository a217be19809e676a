/** What a page chooses for its connection, and what it gets from it: types alone, which no browser loads. */

/** @import { PathReason } from "./answers.js" */
/** @import { GetToken } from "./credentials.js" */
/** @import { Poll, State } from "./poller.js" */
/** @import { Runtime } from "./runtime.js" */

/**
 * @typedef {object} Options
 * @property {string} [connectUrl] Where to ask for paths; `%@` stands for the uid.
 * @property {string} [disconnectUrl] Where to give paths back.
 * @property {string} [host] The poll server's host; "" (the default) is the page's own origin.
 * @property {number | string} [port] The poll server's port, when `host` is given.
 * @property {string} [protocol] The poll server's protocol, when `host` is given.
 * @property {string} [prefix] The poll server's path on that host.
 * @property {GetToken} [token] Returns the bearer token for requests to connect and disconnect.
 * @property {Record<string, string>} [headers] More headers for these requests.
 * @property {RequestCredentials} [credentials] Whether these requests carry cookies; "same-origin" by default.
 * @property {string | null} [user] Who the page's user is, as the server names its users; null when the server asks
 *   nobody who it is. Tabs of the same user share one poll.
 * @property {boolean | string} [shared] Whether tabs share one poll, true by default; a text: as `user`. False: this
 *   tab polls for itself, hidden or not.
 * @property {Partial<Runtime>} [runtime] Replaces the clock, `fetch` and more, for tests.
 */

/**
 * @typedef {object} FirenzeEvents
 * @property {CustomEvent<{state: State, previous: State}>} state The connection's state has changed.
 * @property {CustomEvent<PathReason>} gap Updates of a path were lost: load its state again.
 * @property {CustomEvent<PathReason>} refused The page may not receive a path, or no longer: its right was
 *   taken away (reason "withdrawn"), or has come to its end ("ended").
 * @property {CustomEvent<PathReason>} unconnected A path is not connected yet: requests to connect it get no
 *   answer (reason "unreachable"), an error that may pass ("status 503"), or success without a confirmation
 *   ("unconfirmed").
 * @property {CustomEvent<null>} reset The uid has changed. All paths are being connected again.
 * @property {CustomEvent<Poll>} poll A poll of this tab or of the leader has ended.
 */

export {};
