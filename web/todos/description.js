/** What a task may be called: page and task API agree on that. Source: docs/protocol.md, Tasks. */

/** White space, control characters, what Unicode says to ignore by default, and the blank Braille pattern. */
const UNSEEN = /[\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/**
 * Return a text as a task's description, without the white space around it; "" when nothing of it can be seen.
 *
 * @param {string} text
 */
export function readDescription(text) {
  return text.replace(UNSEEN, "") === "" ? "" : text.trim();
}
