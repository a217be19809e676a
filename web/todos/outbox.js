/**
 * Sends what the user does, in the order in which it was done, and keeps it until the server has answered.
 *
 * Promises: what was kept is sent once the server can be reached, by this tab or another, one request at a time for the
 * whole browser; a task is made once however often its creation is sent; what others changed meanwhile is never overwritten
 * without the user's word; what the server refuses is taken back, and told.
 */

import { ApiError } from "./api.js";
import { decide, findNext, giveUp, isNew, isSameTask, rebase, replace, settle } from "./operations.js";

/** @import { Api } from "./api.js" */
/** @import { Operation, Task } from "./operations.js" */
/** @import { Store } from "./store.js" */

/**
 * @typedef {object} OutboxListeners
 * @property {() => void} onChange What waits has changed.
 * @property {(operation: Operation, answer: Task | null) => void} onSaved
 * @property {(task: Task) => void} onFound The server has another version of a task.
 * @property {(operation: Operation) => void} onConflict The user has to decide.
 * @property {(operation: Operation, message: string) => void} onRefused
 * @property {() => void} onOtherUser Somebody else is signed in now; nothing of this user's is sent or shown any more.
 */

/** What tabs tell each other. @typedef {{sending: string | null}} Word */

export class Outbox {
  /** What waits, oldest first. @type {Operation[]} */
  operations = [];
  /** What the store does not have yet: it is shown at once, however slow the disk. @type {Operation[]} */
  #unsaved = [];
  /** The tasks that this tab's creations became, by the guids they had before. @type {Map<string, Task>} */
  #created = new Map();
  #store;
  #api;
  #lock;
  #backoff;
  #channel;
  #listeners;
  #isDraining = false;
  #isAskedAgain = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** What is on its way, from whichever tab. @type {string | null} */
  #sending = null;
  /** The creation on its way, once its task has come by another way than as its answer. @type {string | null} */
  #arrived = null;

  /**
   * @param {object} parts
   * @param {Promise<Store>} parts.store
   * @param {Pick<Api, "create" | "change" | "remove" | "read">} parts.api
   * @param {<Result>(work: () => Promise<Result>) => Promise<Result>} parts.lock Runs one work at a time in all tabs.
   * @param {{next: () => number, reset: () => void}} parts.backoff
   * @param {Pick<BroadcastChannel, "postMessage" | "onmessage">} parts.channel To the other tabs.
   * @param {OutboxListeners} parts.listeners
   */
  constructor({ store, api, lock, backoff, channel, listeners }) {
    this.#store = store;
    this.#api = api;
    this.#lock = lock;
    this.#backoff = backoff;
    this.#channel = channel;
    this.#listeners = listeners;
    channel.onmessage = ({ data }) => void this.#hear(data);
    void this.drain();
  }

  /** The creation whose task is there already, or null. */
  get arrived() {
    return this.#arrived;
  }

  /** @param {Operation} operation */
  async add(operation) {
    this.#unsaved.push(operation);
    this.#take(this.operations);
    try {
      await this.#update((operations) => [...operations, this.#onTopOfAnswer(operation)]);
    } catch (error) {
      this.#forgetUnsaved(operation);
      this.#take(this.operations.filter(({ id }) => id !== operation.id));
      throw error;
    }
    this.#forgetUnsaved(operation);
    void this.drain();
  }

  /**
   * Take back what has not been sent. Return whether it was so.
   *
   * @param {string} id
   */
  async cancel(id) {
    let isThere = false;
    // Under the lock nothing is on its way.
    await this.#lock(() =>
      this.#update((operations) => {
        isThere = operations.some((operation) => operation.id === id);
        return operations.filter((operation) => operation.id !== id);
      }),
    );
    return isThere;
  }

  /**
   * End a conflict as the user wants.
   *
   * @param {Operation} operation
   * @param {"mine" | "theirs"} choice
   */
  async decide(operation, choice) {
    await this.#update((operations) => decide(operations, operation, choice));
    void this.drain();
  }

  /**
   * Whether the news of a task is this browser's own doing, come before the answer to it.
   *
   * @param {Task} task
   */
  isOwn({ guid, description }) {
    const sending = this.operations.find(({ id }) => id === this.#sending);
    const isNew = sending?.kind === "create" && sending.members.description === description;
    if (isNew) this.#arrived = sending.id;
    return isNew || this.operations.some((operation) => operation.guid === guid);
  }

  /** Send what waits, until nothing does or the server can't be reached; then again later. */
  async drain() {
    this.#isAskedAgain = true;
    if (this.#isDraining) return;
    this.#isDraining = true;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    try {
      while (this.#isAskedAgain) {
        this.#isAskedAgain = false;
        const outcome = await this.#lock(() => this.#sendNext());
        if (outcome === "sent") this.#isAskedAgain = true;
        if (outcome === "stuck") this.#drainLater();
      }
    } finally {
      this.#isDraining = false;
    }
  }

  #drainLater() {
    this.#retry ??= setTimeout(() => void this.drain(), this.#backoff.next());
  }

  /** @returns {Promise<"sent" | "stuck" | "empty">} */
  async #sendNext() {
    this.#take(await (await this.#store).read());
    const operation = findNext(this.operations);
    if (!operation) return "empty";
    this.#tell(operation.id);
    try {
      const answer = await this.#send(operation);
      if (operation.kind === "create" && answer) this.#created.set(operation.guid, answer);
      this.#listeners.onSaved(operation, answer);
      await this.#update((operations) => settle(operations, operation, answer));
    } catch (error) {
      if (!(await this.#meet(operation, error))) return "stuck";
    } finally {
      this.#arrived = null;
      this.#tell(null);
    }
    this.#backoff.reset();
    return "sent";
  }

  /**
   * @param {Operation} operation
   * @returns {Promise<Task | null>}
   */
  async #send({ id, kind, guid, members, base }) {
    if (kind === "create") return this.#api.create(members, id);
    if (isNew(guid) || !base) throw new ApiError("The task was never created.", 404);
    if (kind === "change") return this.#api.change(members, base);
    await this.#api.remove(base);
    return null;
  }

  /**
   * Do what a failure asks for. Return whether it was the server's word; otherwise the same has to be tried again.
   *
   * @param {Operation} operation
   * @param {unknown} error
   */
  async #meet(operation, error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isOfAnother) this.#listeners.onOtherUser();
    // It waits for its owner.
    if (error.isOfAnother || error.isPassing) return false;
    const isOther = error.status === 404 || error.status === 412;
    if (isOther && operation.kind !== "create") return this.#compare(operation);
    await this.#update((operations) => giveUp(operations, operation));
    this.#listeners.onRefused(operation, error.message);
    return true;
  }

  /** @param {Operation} operation */
  async #compare(operation) {
    try {
      const found = isNew(operation.guid) ? null : await this.#api.read(operation.guid);
      if (found) this.#listeners.onFound(found);
      // The task is as the user saw it, and the server's refusal was that of a replica of another version.
      if (found?.tag && found.tag === operation.base?.tag) return false;
      // Another task with this guid says that the user's own is gone.
      const theirs = found && isSameTask(found, operation.base) ? found : null;
      const left = rebase(operation, theirs);
      await this.#update((operations) => (left ? replace(operations, left) : settle(operations, operation, theirs)));
      if (left?.conflict) this.#listeners.onConflict(left);
      return true;
    } catch (error) {
      if (error instanceof ApiError) return false;
      throw error;
    }
  }

  /** @param {(operations: Operation[]) => Operation[]} change */
  async #update(change) {
    this.#take(await (await this.#store).update(change));
    this.#channel.postMessage({ sending: this.#sending });
  }

  /** @param {string | null} id What is on its way now. */
  #tell(id) {
    this.#sending = id;
    this.#channel.postMessage({ sending: id });
  }

  /** @param {Word} word */
  async #hear({ sending }) {
    this.#sending = sending;
    if (sending !== this.#arrived) this.#arrived = null;
    this.#take(await (await this.#store).read());
    // The tab that has kept it may be gone before it could send it.
    if (this.operations.length > 0) this.#drainLater();
  }

  /** @param {Operation} operation */
  #forgetUnsaved(operation) {
    this.#unsaved = this.#unsaved.filter(({ id }) => id !== operation.id);
  }

  /**
   * Return the operation as one on the task that its creation has become meanwhile.
   *
   * @param {Operation} operation
   */
  #onTopOfAnswer(operation) {
    const base = this.#created.get(operation.guid);
    return base && operation.kind !== "create" ? { ...operation, guid: base.guid, base } : operation;
  }

  /** @param {Operation[]} operations */
  #take(operations) {
    const ids = new Set(operations.map(({ id }) => id));
    this.operations = [...operations, ...this.#unsaved.filter(({ id }) => !ids.has(id))];
    this.#listeners.onChange();
  }
}
