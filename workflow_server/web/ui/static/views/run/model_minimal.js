// Stands in for the run's model.
import { get } from "../../api.js";
import { createStore } from "../../store.js";
import { useEffect, useMemo } from "../../lib.js";

export function useRun(id) {
  const run = useMemo(() => {
    const store = createStore({ handler: null, missing: false, error: null, graph: null, entries: [], complete: true, executions: [], spans: [], input: null, selection: null });
    const reload = async () => {
      try {
        const handler = await get(["handlers", id]);
        const entries = [];
        for (let cursor = null; ;) {
          const page = await get(["handlers", id, "history"], { limit: 500, cursor });
          entries.push(...page.history);
          cursor = page.next_cursor;
          if (cursor === null) break;
        }
        const graph = store.get().graph ?? (await get(["workflows", handler.workflow_name, "representation"]).catch(() => ({ graph: null }))).graph;
        store.set({ handler, entries, graph, error: null });
      } catch (error) {
        store.set(error.status === 404 ? { missing: true } : { error });
      }
    };
    return { id, store, reload, select: () => {} };
  }, [id]);
  useEffect(() => {
    run.reload();
    const timer = setInterval(() => run.reload(), 1000);
    return () => clearInterval(timer);
  }, [run]);
  return run;
}
