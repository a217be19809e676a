/**
 * Keeps the model equal to the server: loads the list, and applies what others do as it comes.
 *
 * Promises: nothing falls between the list and the updates, since the list is asked for after each confirmation of
 * the path (also the one that follows a new uid) and after each gap; an update that comes meanwhile is applied by version.
 */

/** @import { Api } from "./api.js" */
/** @import { Change, Model } from "./model.js" */

const PATH = "tasks";

/**
 * What this module needs of Pomona's Firenze.
 *
 * @typedef {object} Connection
 * @property {(path: string, target: any, action: string) => void} connect
 * @property {(type: "gap", listener: () => void) => void} addEventListener
 */

export class Sync {
  #model;
  #api;
  #backoff;
  #pause;
  #onChanges;
  #isLoading = false;
  #isStale = false;

  /**
   * @param {object} parts
   * @param {Model} parts.model
   * @param {Pick<Api, "list">} parts.api
   * @param {{next: () => number, reset: () => void}} parts.backoff Paces the tries to load the list.
   * @param {(milliseconds: number) => Promise<void>} parts.pause
   * @param {(changes: Change[], origin: "list" | "update") => void} parts.onChanges
   */
  constructor({ model, api, backoff, pause, onChanges }) {
    this.#model = model;
    this.#api = api;
    this.#backoff = backoff;
    this.#pause = pause;
    this.#onChanges = onChanges;
  }

  /**
   * Load the list at once, so that there is something to see also when there are no updates, and keep it current.
   *
   * @param {Connection} connection
   */
  start(connection) {
    connection.addEventListener("gap", () => void this.load());
    connection.connect(PATH, this, "taskReceived");
    void this.load();
  }

  /**
   * Take in a message of the path, as in the tutorial.
   *
   * @param {string} _path
   * @param {string} message
   */
  taskReceived(_path, message) {
    if (message.trim() === "") return void this.load();
    const change = this.#model.apply(JSON.parse(message));
    if (change) this.#onChanges([change], "update");
  }

  /** Load the list until that has succeeded; asked again meanwhile, load it once more afterwards. */
  async load() {
    this.#isStale = true;
    if (this.#isLoading) return;
    this.#isLoading = true;
    while (this.#isStale) {
      this.#isStale = false;
      await this.#loadOnce();
    }
    this.#isLoading = false;
  }

  async #loadOnce() {
    this.#model.beginLoad();
    try {
      const tasks = await this.#api.list();
      this.#backoff.reset();
      this.#onChanges(this.#model.endLoad(tasks), "list");
    } catch {
      // The page's state indicator tells of it; here it is only tried again.
      this.#isStale = true;
      await this.#pause(this.#backoff.next());
    }
  }
}
