// Actions on many runs: how many they would be, and then one page, or one run, after the other.
import { ApiError, get, newKey, post } from "../../api.js";
import { VIEWS, parameters } from "./filter.js";

const COUNTED = 500; // The server's largest page.
const DONE = 100; // Runs that one request acts on: so often is the progress told.
const AT_ONCE = 4; // Requests, where each acts on one run.
const MOST = 50_000; // Runs that are counted: of more it is said that they are more.
const SAMPLE = 5;
const BUSY = 8; // Times that a request is repeated while the server says that it has too much to do.

const ENDED = ["completed", "failed", "cancelled"];

/** The actions. A part with `also` is acted on only where its check box says so. */
export const ACTIONS = {
  cancel: {
    verb: "Cancel", done: "cancelled", role: "run", path: ["bulk", "cancel"],
    explained: "Each ends where it is, and its steps are interrupted. It can be retried later.",
    parts: [{ statuses: ["running"], query: { running: true } }],
  },
  retry: {
    verb: "Retry", done: "retried", role: "run", path: ["bulk", "retry"],
    explained: "Each goes on as the same handler with the step that failed; steps that had ended are not run again.",
    parts: [
      { statuses: ["failed"] },
      { statuses: ["cancelled"], also: (told) => `also those that somebody had cancelled (${told})` },
      { statuses: ["running"], isSuspended: true },
    ],
  },
  purge: {
    verb: "Purge", done: "purged", role: "full", path: ["bulk", "cancel"], danger: true,
    explained: "Each is deleted with its events, its result, its state and its history. This cannot be undone.",
    parts: [
      { statuses: ENDED, query: { purge: true } },
      {
        statuses: ["running"], query: { purge: true, running: true },
        also: (told) => `also those that still run (${told}): their steps are interrupted`,
      },
    ],
  },
};

/** Return the parts of an action that a view can have. */
export function partsOf(action, show) {
  const { statuses, states } = VIEWS[show];
  const own = ACTIONS[action].parts
    .map((part) => ({ ...part, statuses: statuses === null ? part.statuses : part.statuses.filter((one) => statuses.includes(one)) }))
    .filter((part) => part.statuses.length > 0 && (!part.isSuspended || states?.includes("suspended")));
  // Who looks at cancelled runs alone means them; running runs are purged only where a box says so.
  return own.map((part) => (action === "retry" && own.length === 1 ? { ...part, also: undefined } : part));
}

/** Return the parts of an action among these handlers. Who selects a cancelled run to be retried means it. */
function partsAmong(action, handlers) {
  return ACTIONS[action].parts.map((part) => {
    const own = handlers.filter((one) => part.statuses.includes(one.status) && (!part.isSuspended || one.suspended !== null));
    const also = action === "retry" ? undefined : part.also;
    return { ...part, also, handlers: own, count: own.length, isMore: false, sample: own.slice(0, SAMPLE) };
  });
}

/**
 * Count what an action would act on, and return its parts: { count, isMore, sample, also, … }. `target` is
 * { handlers }, or { filter }; `onCount(n)` tells how many were found so far.
 */
export async function survey(action, target, { signal, onCount }) {
  if (target.handlers) return partsAmong(action, target.handlers);
  const at = Date.now();
  const parts = [];
  let before = 0;
  for (const part of partsOf(action, target.filter.show)) {
    const query = { ...parameters(target.filter, at), status: part.statuses };
    const asked = { ...query, ...part.query };
    const found = await counted(ACTIONS[action].path, asked, { signal, onCount: (n) => onCount(before + n) });
    const sample = await get("handlers", { ...query, limit: SAMPLE, include: "now" }, { signal });
    before += found.count;
    parts.push({ ...part, ...found, sample: sample.handlers, asked, cursor: null });
  }
  return parts;
}

async function counted(path, query, { signal, onCount }) {
  let count = 0;
  let cursor = null;
  do {
    const page = await post(path, {}, { query: { ...query, dry_run: true, limit: COUNTED, cursor }, signal });
    count += page.handler_ids.length;
    cursor = page.next_cursor;
    onCount(count);
  } while (cursor !== null && count < MOST);
  return { count, isMore: cursor !== null };
}

/**
 * Act on parts, in turn. `onDone({ done, refused })` tells of each step: a number, and { handler_id, detail } of runs
 * that stay as they are. After an error, the same call goes on where it was. Throws ApiError, and AbortError at its end.
 */
export async function act(action, parts, { signal, onDone }) {
  for (const part of parts) {
    if (part.handlers) await eachOf(action, part, { signal, onDone });
    else await pages(action, part, { signal, onDone });
  }
}

async function pages(action, part, { signal, onDone }) {
  while (!part.isOver) {
    const query = { ...part.asked, limit: DONE, cursor: part.cursor };
    const page = await patiently(() => post(ACTIONS[action].path, {}, { query, signal }), signal);
    part.cursor = page.next_cursor;
    part.isOver = page.next_cursor === null;
    onDone({ done: page.handler_ids.length, refused: page.refused ?? [] });
  }
}

async function eachOf(action, part, { signal, onDone }) {
  part.rest ??= [...part.handlers];
  const worker = async () => {
    while (part.rest.length > 0) {
      const handler = part.rest.shift();
      try {
        await patiently(() => one(action, handler.handler_id, signal), signal);
        onDone({ done: 1, refused: [] });
      } catch (error) {
        if (!(error instanceof ApiError) || error.status < 400 || error.status >= 500) {
          part.rest.unshift(handler);
          throw error;
        }
        onDone({ done: 0, refused: [{ handler_id: handler.handler_id, detail: error.detail }] });
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const failed = ends.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

function one(action, id, signal) {
  if (action === "retry") return post(["handlers", id, "retry"], {}, { key: newKey(), signal });
  return post(["handlers", id, "cancel"], {}, { query: { purge: action === "purge" ? true : null }, signal });
}

/** Repeat a request while the server has too much to do. */
async function patiently(request, signal) {
  for (let times = 1; ; times += 1) {
    try {
      return await request();
    } catch (error) {
      if (error.status !== 429 || times === BUSY) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** times));
      signal.throwIfAborted();
    }
  }
}
