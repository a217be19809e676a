/**
 * Adds the page's identity to the requests that connect and disconnect.
 *
 * Owns the token. Promises: one call for a token at a time; after a refusal one new token for each request. Polls carry
 * no credentials: the uid alone identifies them, so they need no preflight from another origin.
 * Source: docs/protocol.md, Who asks: tokens.
 */

/** @import { Runtime } from "./runtime.js" */

/**
 * @typedef {(context: {refused: string | null}) => string | null | Promise<string | null>} GetToken Returns the token
 *   to send; `refused` is the refused token, so that a cached one is not returned again.
 * @typedef {{token?: GetToken, headers?: Record<string, string>, credentials?: RequestCredentials}} Identity
 */

const UNAUTHORIZED = 401;

export class Credentials {
  #runtime;
  #identity;
  /** @type {string | null} */
  #token = null;
  /** @type {Promise<string | null> | null} */
  #question = null;

  /**
   * @param {Runtime} runtime
   * @param {Identity} identity
   */
  constructor(runtime, identity) {
    this.#runtime = runtime;
    this.#identity = identity;
  }

  /**
   * Send a request as the page's user. Errors: whatever `fetch` and the token function throw.
   *
   * @param {string} url
   * @param {RequestInit & {headers: Record<string, string>}} init
   */
  async send(url, init) {
    const token = await this.current();
    const response = await this.#sendWith(token, url, init);
    if (response.status !== UNAUTHORIZED || !(await this.isOther(token))) return response;
    return this.#sendWith(this.#token, url, init);
  }

  /**
   * Return the current token, null when the page uses none.
   *
   * @returns {Promise<string | null>}
   */
  async current() {
    return this.#question ?? this.#token ?? this.#ask();
  }

  /**
   * Return whether there is another token than this refused one; asks for one if necessary.
   *
   * @param {string | null | undefined} token
   */
  async isOther(token) {
    if (!this.#identity.token) return false;
    if (this.#token === token) await this.#ask();
    return this.#token !== token;
  }

  #ask() {
    return (this.#question ??= this.#askNow().finally(() => (this.#question = null)));
  }

  async #askNow() {
    this.#token = (await this.#identity.token?.({ refused: this.#token })) ?? null;
    return this.#token;
  }

  /**
   * @param {string | null} token
   * @param {string} url
   * @param {RequestInit & {headers: Record<string, string>}} init
   */
  #sendWith(token, url, init) {
    const headers = { ...init.headers, ...this.#identity.headers };
    if (token !== null) headers["Authorization"] = `Bearer ${token}`;
    const { credentials = "same-origin" } = this.#identity;
    return this.#runtime.fetch(url, { ...init, headers, credentials });
  }
}
