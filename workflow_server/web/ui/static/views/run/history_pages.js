// The pages of a history: the newest first, then what is older and what is new.
import { get } from "../../api.js";
import { createDerivation } from "./executions.js";

const PAGE = 500;

/**
 * Return the history of a handler: its newest page first, then what is older and what is new. `publish` gets { entries,
 * complete, loading, executions, spans, marks }. What is new costs no more than itself; what is older is derived anew when it
 * has doubled what was known, so that all of it together costs as much as twice its length.
 */
export function createHistory(id, publish) {
  let entries = [];
  let older = []; // Pages that were loaded, but not yet put before the entries, the newest first.
  let cursor = null; // What is older comes after it; null when nothing is loaded yet, or everything.
  let isComplete = false;
  let derivation = createDerivation();
  let loadingOlder = null;

  const page = (query, signal) => get(["handlers", id, "history"], { limit: PAGE, ...query }, { signal });
  const tell = () => publish({ entries: [...entries], complete: isComplete, loading: loadingOlder !== null, ...derivation.value() });

  function append(news) {
    for (const entry of news) entries.push(entry);
    derivation.push(news);
  }

  async function loadNew(signal) {
    if (entries.length === 0) {
      const { history, next_cursor: next } = await page({ order: "desc" }, signal);
      cursor = next;
      isComplete = next === null;
      append(history.reverse());
      tell();
      return;
    }
    for (;;) {
      const { history, next_cursor: next } = await page({ cursor: entries.at(-1).cursor }, signal);
      append(history);
      if (history.length > 0) tell();
      if (next === null) return;
    }
  }

  function mergeOlder() {
    if (older.length === 0) return;
    entries = [...older.reverse().flat(), ...entries];
    older = [];
    derivation = createDerivation();
    derivation.push(entries);
    tell();
  }

  async function readOlder(most, signal) {
    let count = 0;
    try {
      while (!isComplete && entries.length + count < most) {
        const { history, next_cursor: next } = await page({ order: "desc", cursor }, signal);
        cursor = next;
        isComplete = next === null;
        older.push(history.reverse());
        count += history.length;
        if (isComplete || count >= entries.length) {
          mergeOlder();
          count = 0;
        }
      }
    } finally {
      mergeOlder();
      loadingOlder = null;
      publish({ loading: false });
    }
  }

  return {
    loadNew,
    /** Load what is older, until there are `most` entries. */
    loadOlder(most, signal) {
      if (!isComplete && cursor !== null && entries.length < most) {
        publish({ loading: true });
        loadingOlder ??= readOlder(most, signal);
      }
      return loadingOlder ?? Promise.resolve();
    },
  };
}
