/**
 * Pomona: push for web pages by long polling. This is the whole public API.
 *
 * Adds to the core one poll for all tabs of a browser, messages for `for await`, and lists that follow the server's.
 */

import { Firenze as Core } from "./core.js";
import { Followed } from "./follow.js";
import { Messages } from "./messages.js";
import { shareTabs } from "./sharing.js";

/** @import { Options } from "./core.js" */
/** @import { FollowOptions } from "./follow.js" */
/** @import { MessagesOptions } from "./messages.js" */

export { Followed, Messages };

/** One connection from the server to the page. It starts to poll when it is created, and ends with `close()`. */
export class Firenze extends Core {
  /** @param {Options} [options] */
  constructor(options) {
    super(options, shareTabs);
  }

  /**
   * Return the messages of a path for a `for await` loop: they are kept from this call on. Errors: TypeError when
   * `path` is invalid; the loop throws a RangeError when it is `limit` messages behind.
   *
   * @param {string} path
   * @param {MessagesOptions} [options]
   */
  messages(path, options) {
    return new Messages(this, path, options);
  }

  /**
   * Return a list that follows the server's: loaded by `snapshot`, kept current by the path's messages.
   *
   * @template Item
   * @param {string} path
   * @param {FollowOptions<Item>} options
   * @returns {Followed<Item>}
   */
  follow(path, options) {
    return new Followed(this, path, options);
  }
}
