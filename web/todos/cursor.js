/**
 * What a cursor says, for people: to clients it is opaque, and nothing but a page that explains may look into it.
 *
 * Source: docs/protocol.md, Cursors.
 */

const CURSOR = /^([0-9a-z]{1,11})\.([0-9a-z]{1,11})\.([0-9a-z]{1,11})$/;

/**
 * Return the parts of a cursor; null when it is another server's.
 *
 * @param {string} cursor
 */
export function readCursor(cursor) {
  const parts = CURSOR.exec(cursor)?.slice(1).map((digits) => Number.parseInt(digits, 36));
  if (!parts) return null;
  const [epoch = 0, sequence = 0, grants = 0] = parts;
  return { createdAt: new Date(epoch), sequence, grants };
}
