/** What a page chooses for its connection, and what it has without choosing. */

/** @import { GetToken } from "./credentials.js" */
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
 * Return the options with the defaults of the others, and where to poll.
 *
 * @param {Options} options
 */
export function readOptions(options) {
  const settings = {
    connectUrl: "/server/connect/%@",
    disconnectUrl: "/server/disconnect/%@",
    host: "",
    port: 4020,
    protocol: "http",
    prefix: "comet/",
    shared: true,
    ...options,
  };
  const { host, port, protocol, prefix } = settings;
  return { ...settings, pollUrl: `${host ? `${protocol}://${host}:${port}` : ""}/${prefix}` };
}
