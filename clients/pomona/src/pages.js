/**
 * Reads a list that a server sends in pages, each with `Link: <…>; rel="next"` (RFC 8288) while there are more.
 *
 * Promises: it ends, whatever the links say, and sends requests to the list's own origin only.
 */

/** A list with more pages is cut, because its pages may have no end. */
const MAX_PAGES = 1_000;

const NOWHERE = "http://nowhere.invalid";

/** One link: its address, and its parameters with their quotes. */
const LINK = /<([^>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"[^"]*"|[^\s",;]*))?)*)/g;
const IS_NEXT = /;\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?![^\s;]))/i;

/**
 * Return all items of a list, and the reason when some may be missing.
 *
 * Errors: what `fetchPage` throws; Error for an unsuccessful status, TypeError for a body that is not a list.
 *
 * @param {any} loaded The first page: an array, a Response with one as JSON, or either within `{content: […]}`.
 * @param {(url: string) => Promise<Response>} fetchPage
 * @returns {Promise<{items: any[], cut: RangeError | null}>}
 */
export async function readPages(loaded, fetchPage) {
  /** @type {any[]} */
  let items = [];
  /** @type {Set<string>} */
  const asked = new Set([loaded?.url]);
  for (let page = loaded; ; ) {
    items = items.concat(await readPage(page));
    const link = findNext(page);
    if (link === null) return { items, cut: null };
    const next = resolve(link, page.url || globalThis.location?.href);
    if (!next || asked.has(next) || asked.size >= MAX_PAGES) {
      const cut = new RangeError(`The list is cut after ${items.length} items: ${link} is not followed.`);
      return { items, cut };
    }
    asked.add(next);
    page = await fetchPage(next);
  }
}

/**
 * Return a link's URL, or null when it is invalid or of another origin.
 *
 * @param {string} link
 * @param {string | undefined} base Undefined for a Response that a test created, outside a browser.
 */
function resolve(link, base) {
  try {
    const origin = new URL(base ?? NOWHERE).origin;
    const url = new URL(link, base ?? NOWHERE);
    if (url.origin !== origin) return null;
    return base === undefined ? link : url.href;
  } catch {
    return null;
  }
}

/**
 * @param {any} page
 * @returns {Promise<any[]>}
 */
async function readPage(page) {
  const isResponse = typeof page?.json === "function";
  if (isResponse && !page.ok) throw new Error(`The snapshot was answered with ${page.status}.`);
  const body = isResponse ? await page.json() : page;
  const list = Array.isArray(body) ? body : body?.content;
  if (!Array.isArray(list)) throw new TypeError("The snapshot is no list.");
  return list;
}

/**
 * Return the link to the next page from a page's header, or null for the last page.
 *
 * @param {any} page
 * @returns {string | null}
 */
function findNext(page) {
  const header = page.headers?.get?.("Link") ?? "";
  const next = [...header.matchAll(LINK)].find(([, , parameters = ""]) => IS_NEXT.test(parameters));
  return next?.[1] ?? null;
}
