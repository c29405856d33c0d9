// Requests to the server. Paths are relative to the page, so that it works in a mounted application.
import { connection } from "./store.js";

const RETRY_FIRST = 500; // milliseconds
const RETRY_MOST = 10_000;
const HIDDEN_GRACE = 10_000; // After so long out of sight, a tab closes its streams: browsers have six connections.

/** An answer that is an error: `status`, 0 where the server was not reached, `detail` in one line, the parsed `body`. */
export class ApiError extends Error {
  constructor(status, detail, body = null) {
    super(detail);
    this.status = status;
    this.detail = detail;
    this.body = body;
  }
}

/** Return the URL of a path such as ["handlers", id] or "handlers"; lists in `query` are repeated, null is left out. */
export function url(path, query = {}) {
  // Browsers take these two for the folder and its parent, however they are written.
  if (typeof path !== "string" && path.some((part) => part === "." || part === "..")) throw new ApiError(404, "There is no such thing.");
  const segments = typeof path === "string" ? path : path.map(encodeURIComponent).join("/");
  const made = new URL(segments, document.baseURI);
  made.hash = "";
  made.search = "";
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined) made.searchParams.append(name, one);
  }
  return made;
}

/** A body that is a text is JSON already. */
const asJson = (body) => (typeof body === "string" ? body : JSON.stringify(body));

async function request(method, path, { query, body, headers, signal } = {}) {
  const target = url(path, query);
  let response;
  try {
    response = await fetch(target, {
      method,
      signal,
      headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : asJson(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    markLost("The server cannot be reached.");
    throw new ApiError(0, "The server cannot be reached.");
  }
  await checkAnswer(response);
  return response;
}

/** Note what an answer says about the connection. A session that is over leads to the form for the token. */
async function checkAnswer(response) {
  if (response.status === 401) {
    location.reload();
    throw new ApiError(401, "The session is over.");
  }
  if (response.status === 502 || response.status === 504) {
    markLost("The server cannot be reached.");
  } else {
    markLive();
  }
}

function markLost(problem) {
  if (connection.get().state !== "lost") connection.set({ state: "lost", since: Date.now(), problem });
}

function markLive() {
  if (connection.get().state !== "live") connection.set({ state: "live", since: Date.now(), problem: null });
}

/** The query of GET /handlers/{id}: without it, an answer of 500, which browsers report as an error, tells of a failed run. */
export const ANY_STATUS = { run_status: false };

async function read(response, parse = JSON.parse) {
  return parsed(response, await response.text(), parse);
}

function parsed(response, text, parse = JSON.parse) {
  let body = null;
  try {
    body = text === "" ? null : parse(text);
  } catch {
    throw new ApiError(response.status, `The answer is not JSON: ${text.slice(0, 200)}`);
  }
  if (response.ok) return body;
  throw new ApiError(response.status, body?.detail ?? `Status ${response.status}`, body);
}

/** Return the JSON at a path, as `parse` reads it. Throws ApiError. */
export async function get(path, query, { signal, parse } = {}) {
  return read(await request("GET", path, { query, signal }), parse);
}

/** Post JSON; a text is JSON already. `key` is an Idempotency-Key: repeating the call with it does nothing twice. Throws ApiError. */
export async function post(path, body = {}, { query, key, signal } = {}) {
  const headers = key === undefined ? {} : { "Idempotency-Key": key };
  return read(await request("POST", path, { query, body, headers, signal }));
}

export async function del(path) {
  return read(await request("DELETE", path));
}

/** Return a new Idempotency-Key. crypto.randomUUID is missing where a page comes by plain HTTP from another host. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return the text of an answer as it was sent: numbers that JavaScript cannot hold stay what they are. Throws ApiError. */
export async function getText(path, query, { signal } = {}) {
  const response = await request("GET", path, { query, signal });
  const text = await response.text();
  if (!response.ok) parsed(response, text);
  return text;
}

/**
 * Yield the lines of an NDJSON answer in batches, one for each chunk that arrives, and null where the server says that
 * nothing is left (204). A long line that comes in many chunks is joined once. Throws ApiError.
 */
export async function* lines(path, query, signal) {
  const response = await request("GET", path, { query, signal, headers: { Accept: "application/x-ndjson" } });
  if (response.status === 204) yield null;
  if (response.status === 204) return;
  if (!response.ok) await read(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let begun = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const found = value.split("\n");
    begun.push(found.shift());
    if (found.length === 0) continue;
    found.unshift(begun.join(""));
    begun = [found.pop()];
    const whole = found.filter((line) => line.trim() !== "");
    if (whole.length > 0) yield whole;
  }
}

/**
 * Follow an NDJSON stream through lost connections, restarts of the server and times out of sight.
 *
 * `query()` makes the parameters of each request: it knows the cursor. `onItems(items)` gets what arrives, in order, as
 * lines that are not parsed if `raw`; nothing further is read until a promise that it returns is fulfilled.
 * `onEnd()` is called when the server has nothing more to say (204, or the stream ended and `isOver()` is true).
 * `onRefused(error)` gets an ApiError of status 4xx: it is not tried again, but for 429. Returns a function that ends it.
 */
export function follow(path, { query, onItems, onEnd = () => {}, onRefused = () => {}, isOver = () => false, raw = false }) {
  let current = new AbortController();
  let ended = false;
  let wake = () => {};
  let hiddenTimer = null;

  const onVisibility = () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(() => current.abort(), HIDDEN_GRACE);
    else wake();
  };
  document.addEventListener("visibilitychange", onVisibility);

  const pause = (milliseconds) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const untilSeen = async () => {
    while (document.hidden && !ended) await pause(2 ** 30);
  };

  const once = async () => {
    current = new AbortController();
    for await (const found of lines(path, query(), current.signal)) {
      if (ended || found === null) return true;
      await onItems(raw ? found : found.map((line) => JSON.parse(line)));
    }
    return isOver();
  };

  const run = async () => {
    let delay = RETRY_FIRST;
    // A tab that is opened behind others is never told that it is hidden.
    await untilSeen();
    while (!ended) {
      const began = Date.now();
      try {
        if (await once()) break;
      } catch (error) {
        if (ended) return;
        if (error.name !== "AbortError") {
          if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
            onRefused(error);
            return;
          }
          // A stream that breaks off is a lost connection as well: the next request tells.
          if (!(error instanceof ApiError)) markLost("The connection was lost.");
        }
      }
      if (ended) return;
      if (Date.now() - began > RETRY_MOST) delay = RETRY_FIRST;
      await untilSeen();
      await pause(delay + Math.random() * delay * 0.3);
      delay = Math.min(delay * 2, RETRY_MOST);
    }
    if (!ended) onEnd();
  };
  const finished = run();

  return () => {
    ended = true;
    current.abort();
    wake();
    clearTimeout(hiddenTimer);
    document.removeEventListener("visibilitychange", onVisibility);
    return finished;
  };
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return a curl command for a request. The token is a variable, never a value. */
export function curl(method, path, { query, body, key } = {}) {
  const parts = ["curl"];
  if (method !== "GET") parts.push("-X", method);
  parts.push(quoted(url(path, query).href));
  if (key !== undefined) parts.push("-H", quoted(`Idempotency-Key: ${key}`));
  if (body !== undefined) parts.push("-H", quoted("Content-Type: application/json"), "-d", quoted(asJson(body)));
  return parts.join(" ");
}
