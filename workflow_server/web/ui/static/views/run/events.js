// The events of a handler, followed by this view alone: a reader with a cursor takes nothing from others.
import { follow, get, lines } from "../../api.js";
import { createStore } from "../../store.js";
import { detached, kindOf, readLine } from "./event_line.js";

const WHOLE = 8_000; // Characters of a payload that is kept whole; of a longer one only so much is kept as
const HEAD = 2_000; // this, and it is loaded again when it is opened.
const BUDGET = 60_000_000; // Characters of all payloads. Past it, the oldest keep
const SHORT = 200; // so many.
const MOST = 400_000; // Events. Past it, the oldest are forgotten, so many at once:
const FORGOTTEN = 50_000;
const SLICE = 8; // Milliseconds of work before the browser gets its turn.
const QUIET = 120; // Milliseconds between two notices of change.

/** Let the browser draw, and take what a user does. */
export const breathe = () => globalThis.scheduler?.yield?.() ?? new Promise((resolve) => setTimeout(resolve));

/** Events in order, with bounded memory. `items`: { sequence, ms, kind, text, size }; text is the payload or its head. */
function createKept() {
  const kinds = new Map();
  const kept = { items: [], kinds, forgotten: 0, last: -1, isOver: false };
  let characters = 0;
  let shortened = 0;

  const kind = (about) => {
    let found = kinds.get(about);
    if (found === undefined) kinds.set(detached(about), (found = kindOf(about)));
    return found;
  };

  const forget = () => {
    const gone = kept.items.splice(0, FORGOTTEN);
    for (const event of gone) {
      characters -= event.text.length;
      event.kind.count -= 1;
    }
    kept.forgotten += gone.length;
    shortened = Math.max(0, shortened - gone.length);
  };

  const shorten = () => {
    for (; characters > BUDGET && shortened < kept.items.length; shortened += 1) {
      const event = kept.items[shortened];
      if (event.text.length <= SHORT) continue;
      characters -= event.text.length - SHORT;
      event.text = detached(event.text.slice(0, SHORT));
    }
  };

  /** Add a line; one that is known already is left out. */
  kept.add = (line) => {
    const { sequence, ms, text, about } = readLine(line);
    if (sequence <= kept.last) return;
    const event = { sequence, ms, kind: kind(about), text, size: text.length };
    if (text.length > WHOLE) event.text = detached(text.slice(0, HEAD));
    event.kind.count += 1;
    characters += event.text.length;
    kept.items.push(event);
    kept.last = sequence;
    kept.isOver = event.kind.isEnd;
    if (characters > BUDGET) shorten();
    if (kept.items.length > MOST) forget();
  };
  return kept;
}

/** Return whether the whole payload is kept. */
export const isWhole = (event) => event.text.length === event.size;

/** Follow a handler's events into a new collection. `earlier`: from its first run, else from the start of its current one. */
function createReader(id, { internal, earlier }, onChange) {
  const kept = createKept();
  const state = { kept, ended: false, error: null, started: false };
  let stop = () => {};
  let stopped = false;

  const take = async (found) => {
    let began = performance.now();
    for (const line of found) {
      kept.add(line);
      if (performance.now() - began < SLICE) continue;
      onChange();
      await breathe();
      began = performance.now();
    }
    state.started = true;
    onChange();
  };

  const begin = () => {
    state.ended = false;
    state.error = null;
    stop = follow(["events", id], {
      raw: true,
      query: () => ({ after_sequence: kept.last >= 0 ? kept.last : earlier ? 0 : -1, ...(internal && { include_internal: true }) }),
      onItems: take,
      isOver: () => kept.isOver,
      onEnd: () => end(null),
      onRefused: end,
    });
    onChange();
  };
  const end = (error) => {
    state.ended = true;
    state.error = error;
    onChange();
  };

  (async () => {
    const first = earlier ? await firstEvent(id).catch(() => null) : null;
    if (first?.line && (internal || !first.internal)) kept.add(first.line);
    if (!stopped) begin();
  })();
  return {
    state,
    /** Go on after an end: the run was retried or continued, or what was wrong is mended. */
    resume: () => state.ended && begin(),
    stop: () => {
      stopped = true;
      stop();
    },
  };
}

/**
 * Return { line, internal, runId } of the event of sequence 0, behind which all cursors but that of its own run stand: the
 * history has it. `line` is as in the stream, null where there is none; `runId` that of the first run.
 */
export async function firstEvent(id, signal) {
  const { history } = await get(["handlers", id, "history"], { limit: 20, include: "value" }, { signal });
  const first = history.find((entry) => entry.sequence === 0 && entry.value !== null);
  const runId = history[0]?.run_id ?? null;
  if (!first) return { line: null, internal: false, runId };
  const internal = /^(step_|idle)/.test(first.kind);
  const type = internal ? "StepStateChanged" : first.event;
  const about = { type, types: internal ? ["InternalDispatchEvent"] : null, qualified_name: null };
  return { line: JSON.stringify({ value: first.value, ...about, time: first.time, sequence: 0 }), internal, runId };
}

/**
 * Return the log of a handler: `store` with { version, items, kinds, forgotten, internal, earlier, loading, ended, error,
 * generation }. `items` and `kinds` change in place, and `version` with them; `generation` changes where they begin anew.
 */
export function createEventLog(id, { internal = false, earlier = false } = {}) {
  const store = createStore({ version: 0, generation: 0, items: [], kinds: new Map(), forgotten: 0, internal, earlier,
    loading: true, ended: false, error: null, switching: false });
  let timer = null;
  let next = null;
  let stopped = false;

  const tell = () => {
    timer = null;
    if (stopped) return;
    if (next !== null && isReady(next, current)) {
      current.stop();
      current = next;
      next = null;
    }
    const { kept, ended, error, started } = current.state;
    const before = store.get();
    const isNew = before.items !== kept.items || before.forgotten !== kept.forgotten;
    store.set({ version: before.version + 1, generation: before.generation + (isNew ? 1 : 0), items: kept.items, kinds: kept.kinds,
      forgotten: kept.forgotten, loading: !started && !ended, ended, error, switching: next !== null });
  };
  const onChange = () => {
    if (timer === null) timer = setTimeout(tell, QUIET);
  };
  let current = createReader(id, { internal, earlier }, onChange);

  return {
    id,
    store,
    /** Read with other events: what is shown stays until the new reader is as far. */
    show(changes) {
      const { internal, earlier } = { ...store.get(), ...changes };
      store.set({ internal, earlier, switching: true });
      next?.stop();
      next = createReader(id, { internal, earlier }, onChange);
      onChange();
    },
    resume() {
      current.resume();
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
      current.stop();
      next?.stop();
    },
  };
}

const isReady = (next, current) => next.state.ended || (next.state.started && next.state.kept.last >= current.state.kept.last);

/** Return the whole payload of an event as JSON text: it is read again from its place. */
export async function loadText(id, event, signal) {
  if (isWhole(event)) return event.text;
  const mine = new AbortController();
  signal?.addEventListener("abort", () => mine.abort());
  try {
    const query = { after_sequence: event.sequence - 1, ...(event.kind.internal && { include_internal: true }) };
    for await (const found of lines(["events", id], query, mine.signal)) {
      const read = found === null ? null : readLine(found[0]);
      if (read?.sequence === event.sequence) return read.text;
      break;
    }
  } finally {
    mine.abort();
  }
  throw new Error("The event is no longer there.");
}
