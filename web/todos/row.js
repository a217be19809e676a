import { readDescription } from "./description.js";
import { shorten } from "./news.js";
import { find } from "./page.js";

/** @import { Operation, ShownTask, Task } from "./operations.js" */

/**
 * What a row reports when the user acts on it. The task is that at the beginning of the action.
 *
 * @typedef {object} RowListeners
 * @property {(task: Task, isDone: boolean) => void} onTick
 * @property {(task: Task, description: string) => void} onEdit
 * @property {(task: Task) => void} onDelete
 * @property {(operation: Operation, choice: "mine" | "theirs") => void} onDecide
 */

/** One task in the list: its elements, and whether its text is being edited. */
export class Row {
  element;
  #task;
  #isShown = false;
  #listeners;
  #parts;
  /** The task as it was when its text was opened. @type {Task | null} */
  #edited = null;

  /**
   * @param {HTMLTemplateElement} template
   * @param {ShownTask} task
   * @param {RowListeners} listeners
   */
  constructor(template, task, listeners) {
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = find(copy, "task", HTMLLIElement);
    this.#task = task;
    this.#listeners = listeners;
    this.#parts = {
      handle: find(copy, "move", HTMLButtonElement),
      tick: find(copy, "tick", HTMLInputElement),
      edit: find(copy, "edit", HTMLButtonElement),
      description: find(copy, "description", HTMLSpanElement),
      waiting: find(copy, "waiting", HTMLSpanElement),
      editor: find(copy, "editor", HTMLTextAreaElement),
      delete: find(copy, "delete", HTMLButtonElement),
      conflict: find(copy, "conflict", HTMLElement),
      question: find(copy, "question", HTMLParagraphElement),
      mine: find(copy, "mine", HTMLButtonElement),
      theirs: find(copy, "theirs", HTMLButtonElement),
    };
    this.#listen();
    this.update(task);
  }

  get isEditing() {
    return this.#edited !== null;
  }

  get handle() {
    return this.#parts.handle;
  }

  get guid() {
    return this.#task.guid;
  }

  /**
   * Show the task as it is now; the text in an open editor stays the user's.
   *
   * @param {ShownTask} task
   */
  update(task) {
    const isShown = this.#isShown && isSame(this.#task, task);
    this.#task = task;
    this.#isShown = true;
    // Most rows of a long list have not changed.
    if (isShown) return;
    const { handle, tick, edit, description, waiting, delete: remove } = this.#parts;
    this.element.dataset.guid = task.guid;
    this.element.classList.toggle("is-done", task.isDone);
    tick.checked = task.isDone;
    description.textContent = task.description;
    waiting.hidden = !task.isWaiting;
    handle.ariaLabel = `Move: ${task.description}`;
    tick.ariaLabel = `Done: ${task.description}`;
    edit.ariaLabel = `Edit: ${task.description}${task.isWaiting ? ", not sent yet" : ""}`;
    remove.ariaLabel = `Delete: ${task.description}`;
    this.#showConflict(task.conflict);
  }

  /** Highlight a change of another user. */
  flash() {
    this.element.classList.remove("is-news");
    // Read to have the browser notice the removal, so that the animation runs again.
    void this.element.offsetWidth;
    this.element.classList.add("is-news");
  }

  /** End an edit, and keep its text. */
  save() {
    this.#endEdit({ isSaved: true });
  }

  /** Give the focus to the row's check box. */
  focus() {
    this.#parts.tick.focus();
  }

  #listen() {
    const { tick, edit, editor, delete: remove, mine, theirs } = this.#parts;
    tick.addEventListener("change", () => this.#listeners.onTick(this.#task, tick.checked));
    edit.addEventListener("click", () => this.#beginEdit());
    remove.addEventListener("click", () => this.#listeners.onDelete(this.#task));
    editor.addEventListener("keydown", (event) => this.#onEditorKey(event));
    editor.addEventListener("input", () => fitHeight(editor));
    editor.addEventListener("blur", () => this.save());
    mine.addEventListener("click", () => this.#decide("mine"));
    theirs.addEventListener("click", () => this.#decide("theirs"));
  }

  /** @param {"mine" | "theirs"} choice */
  #decide(choice) {
    const operation = this.#task.conflict;
    if (!operation) return;
    this.focus();
    this.#listeners.onDecide(operation, choice);
  }

  /** @param {Operation | null} operation */
  #showConflict(operation) {
    const { conflict, question, mine, theirs } = this.#parts;
    conflict.hidden = operation === null;
    const words = operation && describeConflict(operation);
    question.textContent = words?.question ?? "";
    mine.textContent = words?.mine ?? "";
    theirs.textContent = words?.theirs ?? "";
  }

  #beginEdit() {
    const { edit, editor } = this.#parts;
    this.#edited = this.#task;
    editor.value = this.#task.description;
    editor.hidden = false;
    edit.hidden = true;
    fitHeight(editor);
    editor.focus();
    editor.setSelectionRange(editor.value.length, editor.value.length);
  }

  /** @param {KeyboardEvent} event */
  #onEditorKey(event) {
    // Enter may end the composition of a Japanese or Chinese word.
    if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
    event.preventDefault();
    const isEmptied = event.key === "Enter" && readDescription(this.#parts.editor.value) === "";
    this.#endEdit({ isSaved: event.key === "Enter" });
    this.#parts.edit.focus();
    // A user who removes the whole text wants to delete the task. It can be undone.
    if (isEmptied) this.#listeners.onDelete(this.#task);
  }

  /** @param {{isSaved: boolean}} how */
  #endEdit({ isSaved }) {
    const task = this.#edited;
    if (!task) return;
    // Before the editor hides: hiding fires blur, which calls this again.
    this.#edited = null;
    const { edit, editor } = this.#parts;
    edit.hidden = false;
    editor.hidden = true;
    const text = readDescription(editor.value);
    // The task may have got its final guid meanwhile.
    if (isSaved && text && text !== task.description) this.#listeners.onEdit({ ...task, guid: this.guid }, text);
  }
}

/**
 * Return the question about another user's change, and the two choices.
 *
 * @param {Operation} operation One with a conflict.
 */
export function describeConflict({ kind, members, base, conflict }) {
  const theirs = conflict?.theirs;
  if (!theirs) {
    return {
      question: "Someone else deleted this task while you changed it.",
      mine: "Add it again",
      theirs: "Leave it deleted",
    };
  }
  const wording =
    theirs.description !== base?.description
      ? `changed this to “${shorten(theirs.description)}”`
      : `marked this as ${theirs.isDone ? "done" : "not done"}`;
  if (kind === "remove") {
    return { question: `Someone else ${wording}, which you deleted.`, mine: "Delete it", theirs: "Keep it" };
  }
  const own = members.description === undefined ? "" : ` You wrote “${shorten(members.description)}”.`;
  return { question: `Someone else ${wording}.${own}`, mine: "Keep mine", theirs: "Take theirs" };
}

/**
 * Whether two versions of a task look the same.
 *
 * @param {ShownTask} one
 * @param {ShownTask} other
 */
function isSame(one, other) {
  const names = /** @type {const} */ (["guid", "description", "isDone", "isWaiting", "conflict"]);
  return names.every((name) => one[name] === other[name]);
}

/** @param {HTMLTextAreaElement} editor */
function fitHeight(editor) {
  editor.style.height = "auto";
  editor.style.height = `${editor.scrollHeight}px`;
}
