/**
 * Reads what the servers answer. Pure: raw JSON and headers come in, checked values go out.
 *
 * Source: docs/protocol.md, Delivery and Connecting.
 */

/** Updates on this path report that a path was withdrawn; the message is that path. */
export const WITHDRAWN_PATH = "::+::disconnect";

/** The longest wait that a server may ask for. */
export const MAX_FLOOR_MS = 300_000;
const MAX_PATH_LENGTH = 255;
const PATH = /^[\w\-.~@+=]{1,64}(?:\/[\w\-.~@+=]{1,64}){0,7}$/;

/**
 * @typedef {{path: string, message: string, reason?: string}} Update
 * @typedef {{path: string, reason: string}} PathReason
 * @typedef {{updates: Update[], gaps: PathReason[], reconnectWith: string, uid: string, retryMs: number}} Answer
 */

/**
 * Return the poll's answer, or null when the text is not one (a proxy's page, half a body).
 *
 * @param {string} text
 * @returns {Answer | null}
 */
export function readAnswer(text) {
  const body = readJson(text);
  if (typeof body?.reconnectWith !== "string" || !Array.isArray(body.updates)) return null;
  const uid = readUid(body.reconnectWith.trim());
  if (!uid) return null;
  return {
    updates: body.updates.filter(isUpdate),
    gaps: readPathReasons(body.gaps),
    reconnectWith: body.reconnectWith.trim(),
    uid,
    retryMs: clampFloor(body.retry),
  };
}

/**
 * Return the uid of a `reconnectWith`.
 *
 * @param {string} reconnectWith
 */
export function readUid(reconnectWith) {
  return reconnectWith.split("/")[0] ?? "";
}

/**
 * Return the reason for which a path was refused, or else the whole request, if the answer has one.
 *
 * @param {string} text
 * @param {string} [path]
 * @returns {string | undefined}
 */
export function readReason(text, path) {
  const body = readJson(text);
  return readPathReasons(body?.refused).find((refusal) => refusal.path === path)?.reason ?? body?.reason;
}

/**
 * Return how long a `Retry-After` header (seconds or a date) asks to wait; 0 without one.
 *
 * @param {Headers} headers
 * @param {number} now
 */
export function readRetryAfterMs(headers, now) {
  const value = headers.get("Retry-After");
  if (!value) return 0;
  const seconds = Number(value);
  return clampFloor(Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(value) - now);
}

/**
 * Throw a TypeError unless `path` is valid: with a wrong path the server would refuse the whole request.
 *
 * @param {string} path
 */
export function checkPath(path) {
  if (typeof path !== "string" || path.length > MAX_PATH_LENGTH || !PATH.test(path)) {
    throw new TypeError(`Not a path: ${JSON.stringify(path)}`);
  }
}

/** @param {string} text */
function readJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * @param {any} update
 * @returns {update is Update}
 */
function isUpdate(update) {
  return typeof update?.path === "string" && typeof update.message === "string";
}

/**
 * @param {unknown} list
 * @returns {PathReason[]}
 */
function readPathReasons(list) {
  if (!Array.isArray(list)) return [];
  return list
    .filter((item) => typeof item?.path === "string")
    .map(({ path, reason }) => ({ path, reason: typeof reason === "string" && reason ? reason : "unknown" }));
}

/** @param {unknown} milliseconds */
function clampFloor(milliseconds) {
  return typeof milliseconds === "number" && milliseconds > 0 ? Math.min(milliseconds, MAX_FLOOR_MS) : 0;
}
