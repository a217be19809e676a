/**
 * The task API's calls. Everything that goes wrong leaves here as an ApiError whose message can be shown.
 *
 * Source: docs/protocol.md, Tasks.
 */

/** @import { Task } from "./model.js" */

const TIMEOUT_MS = 15_000;
const CREATE_TRIES = 3;
const RETRY_PAUSE_MS = 400;
const NEXT_PAGE = /<([^>]+)>\s*;[^,]*\brel="?next"?/;

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
}

export class Api {
  #fetch;
  #pause;

  /**
   * @param {(url: string, init: RequestInit) => Promise<Response>} fetch
   * @param {(milliseconds: number) => Promise<void>} pause
   */
  constructor(fetch, pause) {
    this.#fetch = fetch;
    this.#pause = pause;
  }

  /**
   * Return all tasks, page by page.
   *
   * @returns {Promise<Task[]>}
   */
  async list() {
    const tasks = [];
    for (let url = "/tasks"; url; ) {
      // Revalidated by its ETag: a list that has not changed costs a 304.
      const response = await this.#call(url, { cache: "no-cache" });
      tasks.push(...(await readContent(response)));
      url = NEXT_PAGE.exec(response.headers.get("Link") ?? "")?.[1] ?? "";
    }
    return tasks;
  }

  /**
   * Create a task; safe to repeat with the same key.
   *
   * @param {string} description
   * @param {string} key
   * @returns {Promise<Task>}
   */
  async create(description, key) {
    const init = { ...json("POST", { description }), cache: /** @type {const} */ ("no-store") };
    const headers = { ...init.headers, "Idempotency-Key": key };
    for (let left = CREATE_TRIES - 1; ; left -= 1) {
      try {
        return await readContent(await this.#call("/tasks", { ...init, headers }));
      } catch (error) {
        if (left === 0 || !(error instanceof ApiError) || !isPassing(error.status)) throw error;
        await this.#pause(RETRY_PAUSE_MS);
      }
    }
  }

  /**
   * Change some members of a task.
   *
   * @param {string} guid
   * @param {Partial<Pick<Task, "description" | "isDone">>} members
   * @returns {Promise<Task>}
   */
  async change(guid, members) {
    return readContent(await this.#call(guid, json("PATCH", members)));
  }

  /**
   * Delete a task; one that is gone already is what was wanted.
   *
   * @param {string} guid
   */
  async remove(guid) {
    try {
      await this.#call(guid, { method: "DELETE" });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   */
  async #call(url, init) {
    /** @type {Response} */
    let response;
    try {
      response = await this.#fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    } catch {
      throw new ApiError("The server can’t be reached.", 0);
    }
    if (!response.ok) throw new ApiError(await readProblem(response), response.status);
    return response;
  }
}

/** Return a new idempotency key. Not randomUUID, which a page without TLS lacks. */
export function createKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} method
 * @param {object} body
 */
function json(method, body) {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
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

/** @param {number} status */
function isPassing(status) {
  return status === 0 || status === 429 || status >= 500;
}
