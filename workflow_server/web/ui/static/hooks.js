// What views do again and again.
import { get } from "./api.js";
import { connection, useStore } from "./store.js";
import { useCallback, useEffect, useRef, useState } from "./lib.js";

/**
 * Load a path and keep it: { value, error, loading, reload }. It is loaded again when `path` or `query` change, when
 * the connection is back, and every `every` milliseconds while the page is seen. An error keeps the last value.
 * A path of null loads nothing. `parse` reads the JSON.
 */
export function useLoaded(path, query = {}, { every = null, parse } = {}) {
  const key = JSON.stringify([path, query]);
  const [state, setState] = useState({ value: null, error: null, loading: true, key });
  const controller = useRef(null);
  const reload = useCallback(async () => {
    controller.current?.abort();
    if (path === null) return;
    const mine = new AbortController();
    controller.current = mine;
    setState((before) => ({ ...before, loading: true }));
    try {
      const value = await get(path, query, { signal: mine.signal, parse });
      if (!mine.signal.aborted) setState({ value, error: null, loading: false, key });
    } catch (error) {
      if (!mine.signal.aborted) setState((before) => ({ ...before, error, loading: false, key }));
    }
  }, [key]);
  useEffect(() => {
    reload();
    return () => controller.current?.abort();
  }, [reload]);
  useEffect(() => {
    if (every === null) return undefined;
    const timer = setInterval(() => document.hidden || reload(), every);
    return () => clearInterval(timer);
  }, [reload, every]);
  const isLive = useStore(connection, (value) => value.state !== "lost");
  const wasLive = useRef(isLive);
  useEffect(() => {
    if (isLive && !wasLive.current) reload();
    wasLive.current = isLive;
  }, [isLive, reload]);
  // The value of another path is not this one's.
  return state.key === key ? { ...state, reload } : { value: null, error: null, loading: true, reload };
}

/** Return a function that does something once at a time: { run, busy, error }. */
export function useAction(action) {
  const [state, setState] = useState({ busy: false, error: null });
  const busy = useRef(false);
  const run = async (...values) => {
    if (busy.current) return undefined;
    busy.current = true;
    setState({ busy: true, error: null });
    try {
      const result = await action(...values);
      setState({ busy: false, error: null });
      return result;
    } catch (error) {
      setState({ busy: false, error });
      return undefined;
    } finally {
      busy.current = false;
    }
  };
  return { ...state, run, clear: () => setState({ busy: false, error: null }) };
}

/** Set the title of the tab. */
export function useTitle(title) {
  useEffect(() => {
    document.title = title ? `${title} · workflow_server` : "workflow_server";
  }, [title]);
}

/** Call a function at most every `milliseconds`, the last time at the end. */
export function useThrottled(callback, milliseconds) {
  const latest = useRef(callback);
  latest.current = callback;
  const timer = useRef(null);
  const last = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current !== null) return;
    const wait = Math.max(0, last.current + milliseconds - Date.now());
    timer.current = setTimeout(() => {
      timer.current = null;
      last.current = Date.now();
      latest.current();
    }, wait);
  }, [milliseconds]);
}
