/**
 * Calls the task API. Every failure is an ApiError whose message can be shown to the user.
 *
 * Source: docs/protocol.md, Tasks.
 */

/** @import { Members, Task } from "./operations.js" */

const TIMEOUT_MS = 15_000;
const IDENTITY_HEADER = "Roots-Identity";
/** The status of a call that was refused because another user is signed in; not a status of HTTP. */
const ANOTHER = -1;

/** A call that failed, with a sentence for the user. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 when there was no answer.
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  /** Whether another user is signed in by now. */
  get isOfAnother() {
    return this.status === ANOTHER;
  }

  /** Whether the same call may succeed later. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export class Api {
  #fetch;
  #identity;

  /**
   * @param {(url: string, init: RequestInit) => Promise<Response>} fetch
   * @param {string | null} [identity] Whose calls these are, from `readIdentity`; by default the signed-in
   *   user's.
   */
  constructor(fetch, identity = null) {
    this.#fetch = fetch;
    this.#identity = identity;
  }

  /** Return an opaque name of the signed-in user. */
  async readIdentity() {
    const response = await this.#ask("/tasks?limit=1", { method: "HEAD", cache: "no-store" });
    const identity = response.headers.get(IDENTITY_HEADER);
    // A refusal has the name too. An older server, and a failing one, send none.
    if (identity === null) throw new ApiError("The server does not say who is signed in.", 0);
    return identity;
  }

  /**
   * Return a page of the list of tasks; the first one is at `/tasks`.
   *
   * @param {string} url
   */
  list(url) {
    // Revalidated by its ETag: a list that has not changed costs a 304.
    return this.#call(url, { cache: "no-cache" });
  }

  /**
   * Return a task, or null when there is none.
   *
   * @param {string} guid
   * @returns {Promise<Task | null>}
   */
  async read(guid) {
    try {
      return await readContent(await this.#call(guid, { cache: "no-cache" }));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  /**
   * Create a task; safe to repeat with the same key.
   *
   * @param {Members} members
   * @param {string} key
   * @returns {Promise<Task>}
   */
  async create(members, key) {
    return readContent(await this.#call("/tasks", write("POST", members, { "Idempotency-Key": key })));
  }

  /**
   * Change some members of a task, if it is still as the user saw it.
   *
   * @param {Members} members
   * @param {Task} seen
   * @returns {Promise<Task>}
   */
  async change(members, seen) {
    return readContent(await this.#call(seen.guid, write("PATCH", members, { "If-Match": tagOf(seen) })));
  }

  /**
   * Delete a task, if it is still as the user saw it. A task that is gone already is a success.
   *
   * @param {Task} seen
   */
  async remove(seen) {
    try {
      await this.#call(seen.guid, { method: "DELETE", headers: { "If-Match": tagOf(seen) } });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   */
  async #call(url, init) {
    const headers = { ...init.headers, ...(this.#identity && { [IDENTITY_HEADER]: this.#identity }) };
    const response = await this.#ask(url, { ...init, headers });
    if (response.ok) return response;
    const other = response.headers.get(IDENTITY_HEADER);
    const isOfAnother = this.#identity !== null && other !== null && other !== this.#identity;
    throw new ApiError(await readProblem(response), isOfAnother ? ANOTHER : response.status);
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   */
  async #ask(url, init) {
    try {
      return await this.#fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    } catch {
      throw new ApiError("The server can’t be reached.", 0);
    }
  }
}

/** Return a new idempotency key. Not randomUUID, which a page without TLS lacks. */
export function createKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A task without a tag was stored by an older page; its version alone matches nothing. @param {Task} task */
function tagOf({ tag, version }) {
  return `"${tag ?? `v${version}`}"`;
}

/**
 * @param {string} method
 * @param {Members} members
 * @param {Record<string, string>} headers
 * @returns {RequestInit}
 */
function write(method, members, headers) {
  // Not cached: each write needs its own answer.
  return {
    method,
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(members),
    cache: "no-store",
  };
}

/** @param {Response} response */
async function readContent(response) {
  try {
    return (await response.json()).content;
  } catch {
    throw new ApiError("The server’s answer could not be read.", 0);
  }
}

/** @param {Response} response */
async function readProblem(response) {
  if (response.status >= 500) return "The server can’t do that at the moment.";
  if (response.status === 404) return "Someone else has deleted this task.";
  const problem = await response.json().catch(() => null);
  return String(problem?.detail ?? problem?.title ?? `The server refused (${response.status}).`);
}
