// The states of a handler: one word and one colour each.

/** Return { word, kind } of a handler: the kind is running, waiting, completed, failed or cancelled. */
export function statusOf(handler) {
  if (handler.status !== "running") return { word: handler.status, kind: handler.status };
  const state = isQueued(handler) ? "queued" : handler.now?.state;
  if (handler.suspended && state !== "queued") return { word: "suspended", kind: "waiting" };
  if (state === "queued") return { word: "queued", kind: "cancelled" };
  if (handler.stalled || state === "stalled") return { word: "stalled", kind: "waiting" };
  if (state === "waiting" || (handler.waiting_for ?? handler.now?.waiting_for ?? []).length > 0) {
    return { word: "waiting", kind: "waiting" };
  }
  return { word: "running", kind: "running" };
}

/** Return whether a run has ended. */
export const hasEnded = (handler) => handler.status !== "running";

/** Return whether a run waits for its turn. The answer about one handler tells it by its reason alone. */
export const isQueued = (handler) => handler.now?.state === "queued" || /num_concurrent_runs/.test(handler.suspended ?? "");
