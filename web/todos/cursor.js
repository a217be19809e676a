/**
 * Reads a cursor for the page that explains polls. To all other clients a cursor is opaque.
 *
 * Source: docs/protocol.md, Cursors.
 */

const CURSOR = /^([0-9a-z]{1,11})\.([0-9a-z]{1,11})\.([0-9a-z]{1,11})$/;

/**
 * Return the parts of a cursor; null when it has another form.
 *
 * @param {string} cursor
 */
export function readCursor(cursor) {
  const parts = CURSOR.exec(cursor)?.slice(1).map((digits) => Number.parseInt(digits, 36));
  if (!parts) return null;
  const [epoch = 0, sequence = 0, grants = 0] = parts;
  return { createdAt: new Date(epoch), sequence, grants };
}
