/** Finds and fills the elements of a page by their test ids. */

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

/**
 * Set an element's text, unless it is that already: a screen reader reads what is set.
 *
 * @param {ParentNode} root
 * @param {string} testId
 * @param {string} text
 */
export function setText(root, testId, text) {
  const element = find(root, testId, HTMLElement);
  if (element.textContent !== text) element.textContent = text;
}
