/**
 * Sends the user's actions in their order, and stores each until the server has answered.
 *
 * Promises: this tab or another sends stored operations once the server can be reached, one request at a time for the
 * whole browser. A task is created once, however often its creation is sent. Others' changes are never overwritten
 * without the user's decision. Refused operations are removed and reported.
 */

import { ApiError } from "./api.js";
import { decide, findNext, giveUp, isNew, isSameTask, rebase, replace, settle } from "./operations.js";

/** @import { Api } from "./api.js" */
/** @import { Operation, Task } from "./operations.js" */
/** @import { Store } from "./store.js" */

/**
 * @typedef {object} OutboxListeners
 * @property {() => void} onChange The waiting operations have changed.
 * @property {(operation: Operation, answer: Task | null) => void} onSaved
 * @property {(task: Task) => void} onFound The server has another version of a task.
 * @property {(operation: Operation) => void} onConflict The user has to decide.
 * @property {(operation: Operation, message: string) => void} onRefused
 * @property {() => void} onOtherUser Another user is signed in now. This user's operations are no longer sent or
 *   shown.
 */

/** A message between tabs. @typedef {{sending: string | null}} TabMessage */

export class Outbox {
  /** The waiting operations, oldest first. @type {Operation[]} */
  operations = [];
  /**
   * Operations that the store does not have yet: they are shown at once, however slow the disk is.
   *
   * @type {Operation[]}
   */
  #unsaved = [];
  /** The tasks of this tab's creations, by the guids they had before. @type {Map<string, Task>} */
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
  /** The id of the operation that any tab is sending. @type {string | null} */
  #sending = null;
  /** The creation that is being sent, once its task has arrived as an update. @type {string | null} */
  #arrived = null;

  /**
   * @param {object} parts
   * @param {Promise<Store>} parts.store
   * @param {Pick<Api, "create" | "change" | "remove" | "read">} parts.api
   * @param {<Result>(work: () => Promise<Result>) => Promise<Result>} parts.lock Runs one function at a time in all
   *   tabs.
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
    channel.onmessage = ({ data }) => void this.#receive(data);
    void this.drain();
  }

  /** The creation whose task has arrived already, or null. */
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
   * Remove an operation that has not been sent. Return whether it existed.
   *
   * @param {string} id
   */
  async cancel(id) {
    let isThere = false;
    // Under the lock nothing is being sent.
    await this.#lock(() =>
      this.#update((operations) => {
        isThere = operations.some((operation) => operation.id === id);
        return operations.filter((operation) => operation.id !== id);
      }),
    );
    return isThere;
  }

  /**
   * Resolve a conflict by the user's choice.
   *
   * @param {Operation} operation
   * @param {"mine" | "theirs"} choice
   */
  async decide(operation, choice) {
    await this.#update((operations) => decide(operations, operation, choice));
    void this.drain();
  }

  /**
   * Whether an update of a task comes from this browser's own operation, before the answer to it.
   *
   * @param {Task} task
   */
  isOwn({ guid, description }) {
    const sending = this.operations.find(({ id }) => id === this.#sending);
    const isNew = sending?.kind === "create" && sending.members.description === description;
    if (isNew) this.#arrived = sending.id;
    return isNew || this.operations.some((operation) => operation.guid === guid);
  }

  /** Send the waiting operations until none is left or the server can't be reached. Then try again later. */
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
    this.#announceSending(operation.id);
    try {
      const answer = await this.#send(operation);
      if (operation.kind === "create" && answer) this.#created.set(operation.guid, answer);
      this.#listeners.onSaved(operation, answer);
      await this.#update((operations) => settle(operations, operation, answer));
    } catch (error) {
      if (!(await this.#handleFailure(operation, error))) return "stuck";
    } finally {
      this.#arrived = null;
      this.#announceSending(null);
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
   * Handle a failure. Return whether it is final; otherwise the operation has to be sent again.
   *
   * @param {Operation} operation
   * @param {unknown} error
   */
  async #handleFailure(operation, error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isOfAnother) this.#listeners.onOtherUser();
    // The operation waits until its user is signed in again.
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
      // The task is as the user saw it: a replica of another version refused the tag.
      if (found?.tag && found.tag === operation.base?.tag) return false;
      // Another task with this guid means that the user's own is gone.
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

  /** @param {string | null} id The operation that is being sent. */
  #announceSending(id) {
    this.#sending = id;
    this.#channel.postMessage({ sending: id });
  }

  /** @param {TabMessage} message */
  async #receive({ sending }) {
    this.#sending = sending;
    if (sending !== this.#arrived) this.#arrived = null;
    this.#take(await (await this.#store).read());
    // The tab that stored it may be gone before it could send it.
    if (this.operations.length > 0) this.#drainLater();
  }

  /** @param {Operation} operation */
  #forgetUnsaved(operation) {
    this.#unsaved = this.#unsaved.filter(({ id }) => id !== operation.id);
  }

  /**
   * Return the operation with the task that its creation has got meanwhile.
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
