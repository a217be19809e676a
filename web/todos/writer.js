/**
 * What the user does, from the first moment to the server's answer.
 *
 * Promises: a change is shown at once and taken back when it fails; two changes of one task, and two new tasks, reach
 * the server in the order in which they were made.
 */

/** @import { Api } from "./api.js" */
/** @import { Edit, Model, Task } from "./model.js" */

export class Writer {
  #model;
  #api;
  #createKey;
  #onChange;
  #onFailure;
  /** The last write of each task that is under way. @type {Map<string, Promise<unknown>>} */
  #underWay = new Map();
  /** A creation that failed keeps its key, so that the same words sent again can't make two. @type {Map<string, string>} */
  #failedKeys = new Map();
  /** @type {string[]} */
  #creating = [];
  /** The last creation that is under way. @type {Promise<unknown>} */
  #lastCreation = Promise.resolve();

  /**
   * @param {object} parts
   * @param {Model} parts.model
   * @param {Pick<Api, "create" | "change" | "remove">} parts.api
   * @param {() => string} parts.createKey
   * @param {() => void} parts.onChange Told whenever the model has changed.
   * @param {(message: string) => void} parts.onFailure Told why a change was taken back.
   */
  constructor({ model, api, createKey, onChange, onFailure }) {
    this.#model = model;
    this.#api = api;
    this.#createKey = createKey;
    this.#onChange = onChange;
    this.#onFailure = onFailure;
  }

  /**
   * Create a task.
   *
   * @param {string} description
   * @returns {Promise<Task | null>} Null when that failed.
   */
  create(description) {
    this.#creating.push(description);
    const creation = this.#lastCreation.then(() => this.#createNow(description));
    this.#lastCreation = creation;
    return creation;
  }

  /**
   * Change a task.
   *
   * @param {string} guid
   * @param {Pick<Edit, "description" | "isDone">} members
   */
  change(guid, members) {
    return this.#write(guid, members, "Not saved.", async () => {
      this.#model.apply(await this.#api.change(guid, members));
    });
  }

  /** @param {Task} task */
  remove(task) {
    return this.#write(task.guid, { isDeleted: true }, "Not deleted.", async () => {
      await this.#api.remove(task.guid);
      this.#model.apply({ ...task, DELETE: true });
    });
  }

  /**
   * Whether the news of a task is this page's own doing, come back before the answer to it.
   *
   * @param {Task} task
   */
  isOwn({ guid, description }) {
    return this.#model.isBeingEdited(guid) || this.#creating.includes(description);
  }

  /**
   * @param {string} description
   * @returns {Promise<Task | null>}
   */
  async #createNow(description) {
    const key = this.#failedKeys.get(description) ?? this.#createKey();
    try {
      const task = await this.#api.create(description, key);
      this.#failedKeys.delete(description);
      this.#model.apply(task);
      return task;
    } catch (error) {
      this.#failedKeys.set(description, key);
      this.#fail("Not added.", error);
      return null;
    } finally {
      this.#creating.splice(this.#creating.indexOf(description), 1);
      this.#onChange();
    }
  }

  /**
   * @param {string} guid
   * @param {Edit} edit
   * @param {string} failure
   * @param {() => Promise<void>} send
   */
  async #write(guid, edit, failure, send) {
    const takeBack = this.#model.lay(guid, edit);
    this.#onChange();
    const sending = (this.#underWay.get(guid) ?? Promise.resolve()).then(send);
    const settled = sending.catch((error) => this.#fail(failure, error)).finally(takeBack);
    this.#underWay.set(guid, settled);
    await settled;
    if (this.#underWay.get(guid) === settled) this.#underWay.delete(guid);
    this.#onChange();
  }

  /**
   * @param {string} what
   * @param {unknown} error
   */
  #fail(what, error) {
    this.#onFailure(`${what} ${error instanceof Error ? error.message : ""}`.trim());
  }
}
