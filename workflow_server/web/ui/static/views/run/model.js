// What is known of one run: loaded once, kept current, and shared by all views of it.
import { ANY_STATUS, ApiError, get } from "../../api.js";
import { following, onChanges } from "../../changes.js";
import { useEffect, useMemo } from "../../lib.js";
import { place, setQuery } from "../../router.js";
import { hasEnded } from "../../status.js";
import { connection, createStore } from "../../store.js";
import { createHistory } from "./history_pages.js";
import { resolveSelection, selectionInHash, selectionOfHash } from "./selection.js";

const MOST = 120_000; // Entries that are loaded by themselves; `loadMore` loads as many again.
const PAUSE = 400; // Milliseconds between looks at what is new, at least.
const POLL = 2000; // Milliseconds between looks while no stream of changes tells when to look.

/** Return the run of a handler, which is kept current as long as the component is there. */
export function useRun(id) {
  const run = useMemo(() => createRun(id), [id]);
  useEffect(() => run.follow(), [run]);
  return run;
}

/**
 * Return { id, store, select, reload, loadMore, follow }. The value of the store: { handler, missing, error,
 * graph, entries, complete, loading, executions, spans, marks, selection }; `loading` is true while older entries
 * come. `follow()` begins to load, and returns how to end.
 */
export function createRun(id) {
  const store = createStore({
    handler: null, missing: false, error: null, graph: null, entries: [], complete: false, executions: [], spans: [], marks: [],
    loading: false, selection: selectionOfHash(place.get().query),
  });
  const history = createHistory(id, (value) => store.set(resolved(store, value)));
  let most = MOST;
  let controller = new AbortController();
  let graphOf = null;
  let busy = null;
  let isStale = false;

  /** Load what is new: the handler, the graph once, the entries after the last one. */
  async function look(signal) {
    const handler = await get(["handlers", id], ANY_STATUS, { signal });
    store.set({ handler, missing: false, error: null });
    if (graphOf !== handler.workflow_name) {
      const graph = await get(["workflows", handler.workflow_name, "representation"], {}, { signal }).catch(unlessRefused);
      graphOf = handler.workflow_name;
      store.set({ graph: graph?.graph ?? null });
    }
    await history.loadNew(signal);
    history.loadOlder(most, signal).catch(failed);
  }

  function failed(error) {
    if (error.name === "AbortError") return;
    if (error.status === 404) store.set({ missing: true });
    else store.set({ error });
  }

  /** Look once at a time; a call meanwhile leads to another look behind it. */
  function refresh() {
    isStale = true;
    busy ??= (async () => {
      while (isStale && !controller.signal.aborted) {
        isStale = false;
        await look(controller.signal).catch(failed);
        await new Promise((resolve) => setTimeout(resolve, isStale ? PAUSE : 0));
      }
      busy = null;
    })();
    return busy;
  }

  function follow() {
    controller = new AbortController();
    const stops = [watchChanges(id, refresh, () => store.set({ missing: true })), watchSelection(id, store), watchConnection(refresh)];
    const timer = setInterval(() => {
      const { handler, missing } = store.get();
      if (!document.hidden && !missing && !following() && (handler === null || !hasEnded(handler))) refresh();
    }, POLL);
    refresh();
    return () => {
      controller.abort();
      clearInterval(timer);
      for (const stop of stops) stop();
    };
  }

  const select = (selection) => {
    store.set({ selection: resolveSelection(selection, store.get()) });
    setQuery({ at: selectionInHash(store.get().selection) }, { replace: true });
  };

  const loadMore = () => {
    most += MOST;
    return history.loadOlder(most, controller.signal).catch(failed);
  };

  return { id, store, follow, select, reload: refresh, loadMore };
}

function resolved(store, value) {
  return { ...value, selection: resolveSelection(store.get().selection, { ...store.get(), ...value }) };
}

function unlessRefused(error) {
  if (error instanceof ApiError && error.status === 404) return null;
  throw error;
}

function watchChanges(id, refresh, purged) {
  return onChanges((changes) => {
    if (changes.purged.includes(id)) purged();
    else if (changes.reset || changes.handlers.some((handler) => handler.handler_id === id)) refresh();
  });
}

/** Look again when the connection is back. */
function watchConnection(refresh) {
  let wasLost = connection.get().state === "lost";
  return connection.subscribe(({ state }) => {
    if (wasLost && state === "live") refresh();
    wasLost = state === "lost";
  });
}

/** Follow the browser's back and forward: the hash says what is selected. */
function watchSelection(id, store) {
  return place.subscribe(({ path, query }) => {
    if (path[1] !== id) return;
    const { selection } = store.get();
    if (String(selectionInHash(selection)) === String(query.getAll("at"))) return;
    store.set({ selection: resolveSelection(selectionOfHash(query), store.get()) });
  });
}
