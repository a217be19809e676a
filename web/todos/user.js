/**
 * Who is signed in, as the server says: the page's own storage is named after them, and the page begins anew when it is
 * somebody else, whichever tab has signed them in.
 */

import { ApiError } from "./api.js";

/** @import { Api } from "./api.js" */

/** The name of who is not signed in. */
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
   * @param {Pick<BroadcastChannel, "postMessage" | "onmessage">} parts.channel To all tabs, whoever's they are.
   * @param {() => void} parts.onOther Somebody else is signed in than when the page began.
   */
  constructor(api, { backoff, channel, onOther }) {
    this.#api = api;
    this.#backoff = backoff;
    this.#channel = channel;
    this.#onOther = onOther;
    channel.onmessage = ({ data }) => void (data !== this.#identity && this.check());
  }

  /** Return who is signed in, as soon as the server can be asked, and tell the other tabs. */
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

  /** Ask again. A server that can't be asked is asked the next time. */
  async check() {
    if (this.#identity === null) return;
    const now = await this.#api.readIdentity().catch(() => this.#identity);
    if (now !== this.#identity) this.#onOther();
  }
}
