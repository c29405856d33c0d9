// The list of runs: loaded by pages, and kept true by the changes that the server tells.
import { get } from "../../api.js";
import { useChanges } from "../../changes.js";
import { toMs } from "../../format.js";
import { useThrottled } from "../../hooks.js";
import { useEffect, useLayoutEffect, useMemo, useRef } from "../../lib.js";
import { place } from "../../router.js";
import { clock, connection, createStore, useStore } from "../../store.js";
import { matches, parameters } from "./filter.js";

const FIRST = 50; // Runs of the first page: a screen, so that it comes quickly.
const MORE = 200;
const MOST = 500; // The server's largest page.
const TRIES = 8; // Pages may be short or empty where few of many runs match; so many are read at a click.

const GROWN = 100; // Runs that may come above those that were asked for, before the last ones are let go.

// `wanted` runs were asked for. Of more that came, the last were let go: then `isCut`, and the cursor is behind them.
// There are more new ones than are kept where `isFull`: they are shown by loading the list again.
const nothing = {
  filter: null, at: 0, rows: [], cursor: null, loading: "first", error: null,
  fresh: [], gone: new Set(), news: new Set(), wanted: FIRST, isCut: false, isFull: false,
};

const compared = (one, other) => (one < other ? -1 : Number(one > other));

/** Return a negative number where a run comes before another in a list. */
function order(one, other, oldestFirst) {
  // Milliseconds, and then the text, which tells microseconds.
  const difference = toMs(one.started_at) - toMs(other.started_at) || compared(one.started_at, other.started_at);
  const ordered = difference || compared(one.handler_id, other.handler_id);
  return oldestFirst ? ordered : -ordered;
}

const sorted = (rows, filter) => rows.sort((one, other) => order(one, other, filter.oldestFirst));

/** Return the rows without those that are gone, and with these. */
function merged({ rows, fresh, gone, filter }) {
  const kept = rows.filter((row) => !gone.has(row.handler_id));
  if (fresh.length === 0) return kept;
  return sorted([...kept, ...fresh], filter);
}

/** Return what a list becomes by changes: rows change in place, what comes and goes is noted in `fresh` and `gone`. */
export function withChanges(list, { handlers, purged }) {
  const { filter, at } = list;
  const isWhole = list.cursor === null && !list.isCut;
  const places = new Map(list.rows.map((row, index) => [row.handler_id, index]));
  const rows = [...list.rows];
  const fresh = new Map(list.fresh.map((row) => [row.handler_id, row]));
  const gone = new Set(list.gone);
  const last = rows.at(-1);
  for (const id of purged) {
    fresh.delete(id);
    if (places.has(id)) gone.add(id);
  }
  for (const handler of handlers) {
    const id = handler.handler_id;
    const belongs = matches(handler, filter, at);
    if (places.has(id)) {
      rows[places.get(id)] = handler;
      if (belongs) gone.delete(id);
      else gone.add(id);
    } else if (!belongs) {
      fresh.delete(id);
    } else if (isWhole || last === undefined || order(handler, last, filter.oldestFirst) < 0) {
      // What comes after the last row is found by loading more.
      fresh.set(id, handler);
    }
  }
  const all = sorted([...fresh.values()], filter);
  return { rows, fresh: all.slice(0, MOST), isFull: list.isFull || all.length > MOST, gone };
}

async function readPage(filter, at, cursor, limit, signal) {
  const query = { ...parameters(filter, at), order: filter.oldestFirst ? "asc" : "desc", limit, cursor, include: "now" };
  const { handlers, next_cursor: next } = await get("handlers", query, { signal });
  return { rows: handlers, cursor: next };
}

/** Return a list: `store`, and what can be done with it. `isHeld()` tells that nothing may jump at this moment. */
function createList(isHeld, initial) {
  const store = createStore(initial);
  let controller = new AbortController();
  let isStale = false; // Changes were lost while something was read.
  let missed = []; // Changes that were told while something was read: it may be older than they are.

  /** Read pages until `wanted` rows are there; `onPage` is called with what was read so far. */
  const read = async (filter, at, cursor, wanted, onPage = () => {}) => {
    const { signal } = controller;
    let found = { rows: [], cursor };
    for (let tries = TRIES + Math.ceil(wanted / MOST); tries > 0; tries -= 1) {
      const page = await readPage(filter, at, found.cursor, Math.min(MOST, wanted - found.rows.length), signal);
      found = { rows: [...found.rows, ...page.rows], cursor: page.cursor };
      onPage(found);
      if (found.cursor === null || found.rows.length >= wanted) break;
    }
    return found;
  };

  /** Do something that reads, one at a time: what was being read is given up. */
  const exclusively = async (loading, action) => {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    missed = [];
    store.set({ loading, error: null });
    const failure = await action(signal).then(() => null, (error) => error);
    if (signal.aborted) return;
    store.set({ loading: null, error: failure });
    missed.forEach(note);
    if (isStale && failure === null) refresh();
  };

  const apply = () => {
    const list = store.get();
    if (list.isFull) return load(list.filter);
    if (list.fresh.length + list.gone.size === 0) return undefined;
    const news = list.fresh.length > 0 ? new Set(list.fresh.map((row) => row.handler_id)) : list.news;
    const all = merged(list);
    const isCut = all.length > list.wanted + GROWN;
    const rows = isCut ? all.slice(0, list.wanted) : all;
    return store.set({ rows, fresh: [], gone: new Set(), news, isCut: isCut || list.isCut });
  };

  const load = (filter) =>
    exclusively("first", async (signal) => {
      const at = Date.now();
      store.set({ wanted: FIRST, isCut: false, isFull: false, fresh: [], gone: new Set() });
      const show = (found) => signal.aborted || store.set({ ...found, filter, at });
      show(await read(filter, at, null, FIRST, (found) => found.rows.length > 0 && show(found)));
    });

  const more = () => {
    const { filter, at, cursor, rows: before, loading, isCut } = store.get();
    if (loading !== null || (cursor === null && !isCut)) return undefined;
    const wanted = before.length + MORE;
    return exclusively("more", async (signal) => {
      const show = ({ rows, cursor: next }) => {
        if (signal.aborted) return;
        const known = new Set(before.map((row) => row.handler_id));
        const all = [...before, ...rows.filter((row) => !known.has(row.handler_id))];
        store.set({ rows: isCut ? sorted(all, filter) : all, cursor: next, wanted });
      };
      if (!isCut) return read(filter, at, cursor, MORE, show);
      show(await read(filter, at, null, wanted));
      return store.set({ isCut: false });
    });
  };

  /** Load again what is shown, after changes were lost: as if each had been told. */
  const refresh = () => {
    const { filter, rows: before, cursor, loading, isCut } = store.get();
    isStale = loading !== null;
    if (isStale || filter === null) return undefined;
    return exclusively("again", async (signal) => {
      const at = Date.now();
      const found = await read(filter, at, null, Math.max(FIRST, before.length));
      if (signal.aborted) return;
      const here = new Set(found.rows.map((row) => row.handler_id));
      // New runs push the last ones out of what was read: those are where they were.
      const isBehind = (row) => found.cursor !== null && order(row, found.rows.at(-1), filter.oldestFirst) > 0;
      const purged = before.filter((row) => !here.has(row.handler_id) && !isBehind(row)).map((row) => row.handler_id);
      store.set({ at, cursor: before.some(isBehind) ? cursor : found.cursor, isCut: isCut && before.some(isBehind) });
      note({ handlers: found.rows, purged });
    });
  };

  const note = (changes) => {
    const list = store.get();
    if (list.loading !== null) missed.push(changes);
    if (list.filter === null) return;
    store.set(withChanges(list, changes));
    if (!isHeld()) apply();
  };

  return { store, load, more, refresh, note, apply, end: () => controller.abort() };
}

/** The list as it was when it was left: "back" finds it where it was. */
let left = null;
let isBack = false;
globalThis.navigation?.addEventListener("navigate", ({ navigationType }) => {
  isBack = navigationType === "traverse";
});

/**
 * Follow the runs of a filter. `isHeld()`, which does not change, tells that the reader is in the list: what would move
 * its rows is kept back then, in `fresh` and `gone`, until `apply()` or until the reader is elsewhere.
 */
export function useRuns(filter, isHeld) {
  const key = JSON.stringify(filter);
  const list = useMemo(() => createList(isHeld, isBack && left?.key === key ? left.value : nothing), []);
  const value = useStore(list.store);
  const isBegun = useRef(false);
  useLayoutEffect(() => {
    if (list.store.get() !== nothing) left.show();
  }, []);
  useEffect(() => {
    if (isBegun.current || list.store.get() === nothing) list.load(filter);
    else list.refresh();
    isBegun.current = true;
  }, [key]);
  useLeaving(key, list);
  const refresh = useThrottled(list.refresh, 1000);
  useChanges((changes) => {
    if (changes.reset) refresh();
    list.note(changes);
  });
  const isLive = useStore(connection, ({ state }) => state !== "lost");
  useEffect(() => {
    if (isLive) refresh();
  }, [isLive]);
  useEffect(() => clock.subscribe(() => isHeld() || list.apply()), []);
  return { ...value, more: list.more, apply: list.apply, reload: () => list.load(filter), refresh };
}

/** Note where the reader was when the list is left for a run. */
function useLeaving(key, list) {
  const latest = useRef(key);
  latest.current = key;
  useEffect(
    () => () => {
      const top = scrollY;
      const [, opened] = place.get().path;
      const show = () => {
        scrollTo(0, top);
        if (opened) focusRun(opened);
      };
      const value = { ...list.store.get(), loading: null, error: null };
      left = JSON.stringify(value.filter) === latest.current ? { key: latest.current, value, show } : null;
      list.end();
    },
    [],
  );
}

/** Give the focus to a run's row, without scrolling. */
export function focusRun(id) {
  document.querySelector(`a[data-run="${CSS.escape(id)}"]`)?.focus({ preventScroll: true });
}
