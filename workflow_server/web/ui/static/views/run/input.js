// The input of a run: the start event that it began with.
import { get } from "../../api.js";
import { parseExact } from "../../forms/exact_json.js";

const PAGE = 500;

/** Return the fields of the start event of a handler's current run, null where it is not kept. Throws ApiError. */
export async function inputOf(id, { signal } = {}) {
  const page = (query, parse) => get(["handlers", id, "history"], query, { signal, parse });
  const isStart = (entry) => entry?.kind === "started" && entry.run_id === handler.run_id;
  const [handler, { history: first }] = await Promise.all([
    get(["handlers", id], {}, { signal }), page({ limit: 1, include: "value" }, parseExact)]);
  if (isStart(first[0])) return first[0].value?.value ?? null;
  // It was continued or retried: its current run began later. The values of what came since are not needed.
  for (let cursor = null; ;) {
    const { history, next_cursor: next } = await page({ order: "desc", limit: PAGE, cursor });
    const at = history.findIndex(isStart);
    if (at >= 0) {
      const behind = at > 0 ? history[at - 1].cursor : cursor;
      const found = await page({ order: "desc", limit: 1, cursor: behind, include: "value" }, parseExact);
      return found.history[0]?.value?.value ?? null;
    }
    if (next === null) return null;
    cursor = next;
  }
}
