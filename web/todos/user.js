/**
 * Reads from the server who is signed in. The page's storage is named after the user, and the page starts again when
 * another user signs in, in whichever tab.
 */

import { ApiError } from "./api.js";

/** @import { Api } from "./api.js" */

/** The name of users who are not signed in. */
export const NOBODY = "none";

export class User {
  #api;
  #backoff;
  #channel;
  #onOther;
  /** @type {string | null} */
  #identity = null;

  /**
   * @param {Pick<Api, "readIdentity">} api
   * @param {object} parts
   * @param {{next: () => number, reset: () => void}} parts.backoff
   * @param {Pick<BroadcastChannel, "postMessage" | "onmessage">} parts.channel Connects all tabs, of all users.
   * @param {() => void} parts.onOther Another user is signed in than when the page started.
   */
  constructor(api, { backoff, channel, onOther }) {
    this.#api = api;
    this.#backoff = backoff;
    this.#channel = channel;
    this.#onOther = onOther;
    channel.onmessage = ({ data }) => void (data !== this.#identity && this.check());
  }

  /** Return who is signed in, once the server can be reached, and post it to the other tabs. */
  async read() {
    while (this.#identity === null) {
      try {
        this.#identity = await this.#api.readIdentity();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        await new Promise((resolve) => setTimeout(resolve, this.#backoff.next()));
      }
    }
    this.#backoff.reset();
    this.#channel.postMessage(this.#identity);
    return this.#identity;
  }

  /** Ask again. When the server can't be reached, the next check asks. */
  async check() {
    if (this.#identity === null) return;
    const now = await this.#api.readIdentity().catch(() => this.#identity);
    if (now !== this.#identity) this.#onOther();
  }
}
