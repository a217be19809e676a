/** Reads a task's description by the rules of the task API. Source: docs/protocol.md, Tasks. */

/** White space, control characters, characters that Unicode ignores by default, and the blank Braille pattern. */
const UNSEEN = /[\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/**
 * Return a text without the white space around it; "" when it has no visible character.
 *
 * @param {string} text
 */
export function readDescription(text) {
  return text.replace(UNSEEN, "") === "" ? "" : text.trim();
}
