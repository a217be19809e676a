/** @import { Task } from "./model.js" */

/**
 * What a row tells when the user acts on it.
 *
 * @typedef {object} RowListeners
 * @property {(guid: string, isDone: boolean) => void} onTick
 * @property {(guid: string, description: string) => void} onEdit
 * @property {(guid: string) => void} onDelete
 */

/** One task in the list: its elements, and whether its text is being edited. */
export class Row {
  element;
  #task;
  #listeners;
  #parts;

  /**
   * @param {HTMLTemplateElement} template
   * @param {Task} task
   * @param {RowListeners} listeners
   */
  constructor(template, task, listeners) {
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = find(copy, "task", HTMLLIElement);
    this.#task = task;
    this.#listeners = listeners;
    this.#parts = {
      tick: find(copy, "tick", HTMLInputElement),
      edit: find(copy, "edit", HTMLButtonElement),
      description: find(copy, "description", HTMLSpanElement),
      editor: find(copy, "editor", HTMLTextAreaElement),
      delete: find(copy, "delete", HTMLButtonElement),
    };
    this.element.dataset.guid = task.guid;
    this.#listen();
    this.update(task);
  }

  get isEditing() {
    return !this.#parts.editor.hidden;
  }

  /**
   * Show the task as it is now; the text in an open editor stays the user's.
   *
   * @param {Task} task
   */
  update(task) {
    this.#task = task;
    const { tick, edit, description, delete: remove } = this.#parts;
    this.element.classList.toggle("is-done", task.isDone);
    tick.checked = task.isDone;
    description.textContent = task.description;
    tick.ariaLabel = `Done: ${task.description}`;
    edit.ariaLabel = `Edit: ${task.description}`;
    remove.ariaLabel = `Delete: ${task.description}`;
  }

  /** Draw the eye to a change that someone else made. */
  flash() {
    this.element.classList.remove("is-news");
    // Read to have the browser notice the removal, so that the animation runs again.
    void this.element.offsetWidth;
    this.element.classList.add("is-news");
  }

  /** Give the focus to the row's first control. */
  focus() {
    this.#parts.tick.focus();
  }

  #listen() {
    const { tick, edit, editor, delete: remove } = this.#parts;
    tick.addEventListener("change", () => this.#listeners.onTick(this.#task.guid, tick.checked));
    edit.addEventListener("click", () => this.#beginEdit());
    remove.addEventListener("click", () => this.#listeners.onDelete(this.#task.guid));
    editor.addEventListener("keydown", (event) => this.#onEditorKey(event));
    editor.addEventListener("input", () => fitHeight(editor));
    editor.addEventListener("blur", () => this.#endEdit({ isSaved: true }));
  }

  #beginEdit() {
    const { edit, editor } = this.#parts;
    editor.value = this.#task.description;
    editor.hidden = false;
    edit.hidden = true;
    fitHeight(editor);
    editor.focus();
    editor.setSelectionRange(editor.value.length, editor.value.length);
  }

  /** @param {KeyboardEvent} event */
  #onEditorKey(event) {
    // Enter that ends the composition of a Japanese or Chinese word is not meant for us.
    if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
    event.preventDefault();
    this.#endEdit({ isSaved: event.key === "Enter" });
    this.#parts.edit.focus();
  }

  /** @param {{isSaved: boolean}} how */
  #endEdit({ isSaved }) {
    if (!this.isEditing) return;
    const { edit, editor } = this.#parts;
    // Shown before the editor hides, which fires blur and comes back here.
    edit.hidden = false;
    editor.hidden = true;
    const text = editor.value.trim();
    if (isSaved && text && text !== this.#task.description) this.#listeners.onEdit(this.#task.guid, text);
  }
}

/** @param {HTMLTextAreaElement} editor */
function fitHeight(editor) {
  editor.style.height = "auto";
  editor.style.height = `${editor.scrollHeight}px`;
}

/**
 * Return the element with this test id.
 *
 * @template {Element} Kind
 * @param {ParentNode} root
 * @param {string} testId
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function find(root, testId, kind) {
  const element = root.querySelector(`[data-testid="${testId}"]`);
  if (!(element instanceof kind)) throw new Error(`The page lacks ${testId}`);
  return element;
}
