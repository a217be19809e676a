/**
 * The tasks as this page knows them: what the server has said, with what the user has just done laid over it.
 *
 * Pure: no network, no DOM. Promises: the newest version of a task wins whatever the order in which versions come,
 * and a deleted task does not come back.
 */

/**
 * @typedef {{guid: string, description: string, isDone: boolean, version: number}} Task
 * @typedef {Partial<Pick<Task, "description" | "isDone">> & {isDeleted?: boolean}} Edit What the user did to a task.
 * @typedef {"added" | "changed" | "deleted"} ChangeKind
 * @typedef {{kind: ChangeKind, task: Task}} Change
 */

export class Model {
  /** @type {Map<string, Task>} */
  #tasks = new Map();
  /** Task numbers are never used twice, so this is remembered for as long as the page lives. @type {Set<string>} */
  #deleted = new Set();
  /** @type {Map<string, Edit[]>} */
  #edits = new Map();
  /** What has been heard of since the list was asked for. @type {Set<string> | null} */
  #heardWhileLoading = null;
  #isLoaded = false;

  /** Whether the whole list has been loaded once. */
  get isLoaded() {
    return this.#isLoaded;
  }

  /**
   * Return the tasks to show, oldest first.
   *
   * @returns {Task[]}
   */
  list() {
    return [...this.#tasks.values()]
      .map((task) => this.#withEdits(task))
      .filter((task) => task !== null)
      .sort((a, b) => taskNumber(a) - taskNumber(b));
  }

  /**
   * Return one task as shown, or null.
   *
   * @param {string} guid
   */
  get(guid) {
    const task = this.#tasks.get(guid);
    return task ? this.#withEdits(task) : null;
  }

  /**
   * Take in a version of a task from the server.
   *
   * @param {Task & {DELETE?: boolean}} news
   * @returns {Change | null} Null when the page knew better.
   */
  apply(news) {
    this.#heardWhileLoading?.add(news.guid);
    if (news.DELETE) return this.#forget(news);
    const known = this.#tasks.get(news.guid);
    if (this.#deleted.has(news.guid) || (known && known.version >= news.version)) return null;
    this.#tasks.set(news.guid, news);
    return { kind: known ? "changed" : "added", task: news };
  }

  /** The list is being asked for now: what is heard from here on may be newer than it. */
  beginLoad() {
    this.#heardWhileLoading = new Set();
  }

  /**
   * Take in the whole list. What it lacks has been deleted, unless it was heard of since the list was asked for.
   *
   * @param {Task[]} tasks
   * @returns {Change[]}
   */
  endLoad(tasks) {
    const heard = this.#heardWhileLoading ?? new Set();
    this.#heardWhileLoading = null;
    this.#isLoaded = true;
    const listed = new Set(tasks.map(({ guid }) => guid));
    const gone = [...this.#tasks.values()].filter(({ guid }) => !listed.has(guid) && !heard.has(guid));
    return [...gone.map((task) => this.#forget(task)), ...tasks.map((task) => this.apply(task))].filter(
      (change) => change !== null,
    );
  }

  /**
   * Show what the user did before the server has answered.
   *
   * @param {string} guid
   * @param {Edit} edit
   * @returns {() => void} Takes it back: the server has answered, or has refused it.
   */
  lay(guid, edit) {
    this.#edits.set(guid, [...(this.#edits.get(guid) ?? []), edit]);
    return () => {
      const left = (this.#edits.get(guid) ?? []).filter((other) => other !== edit);
      if (left.length > 0) this.#edits.set(guid, left);
      else this.#edits.delete(guid);
    };
  }

  /**
   * Whether the user's own change of a task is on its way.
   *
   * @param {string} guid
   */
  isBeingEdited(guid) {
    return this.#edits.has(guid);
  }

  /**
   * @param {Task} task
   * @returns {Task | null}
   */
  #withEdits(task) {
    const { isDeleted, ...shown } = Object.assign({ isDeleted: false }, task, ...(this.#edits.get(task.guid) ?? []));
    return isDeleted ? null : shown;
  }

  /**
   * @param {Task} task
   * @returns {Change | null}
   */
  #forget({ guid }) {
    const known = this.#tasks.get(guid);
    this.#deleted.add(guid);
    this.#tasks.delete(guid);
    return known ? { kind: "deleted", task: known } : null;
  }
}

/** @param {Task} task */
function taskNumber({ guid }) {
  return Number(guid.slice(guid.lastIndexOf("/") + 1));
}
