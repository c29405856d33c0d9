// The rows of a log: the events that match its filters, with marks of what else happened in between.
import { breathe } from "./events.js";
import { toMs } from "../../format.js";

const SLICE = 8; // Milliseconds of work before the browser gets its turn.
const AT_ONCE = 256; // Events between two looks at the clock.

/** Kinds of the history that the log shows between events: what no event tells. */
const MARKS = new Set([
  "started", "resumed", "retried", "released", "suspended", "cancel_requested", "event_sent", "attempt_failed", "wait_timed_out",
]);

/** Return the sequence of the last event before an entry of the history: its cursor counts them. */
export const lastBefore = (entry) => entry.sequence ?? Number.parseInt(entry.cursor, 10) - 1;

/** Return the marks of a history in order: { entry, sequence, ms }; a mark stands behind the event of its sequence. */
export function marksOf(entries, runId) {
  const marks = [];
  for (const [index, entry] of entries.entries()) {
    if (!MARKS.has(entry.kind) || (runId !== null && entry.run_id !== runId)) continue;
    if (entry.kind === "started" && entries[index + 1]?.kind === "retried") continue; // That tells more.
    marks.push({ entry, sequence: lastBefore(entry), ms: toMs(entry.time) });
  }
  return marks;
}

/** Return an expression that finds a text as it is written, or as JSON writes it, in any case; null for no text. */
export function finder(text) {
  if (text === "") return null;
  const escaped = (part) => part.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  const forms = new Set([text, JSON.stringify(text).slice(1, -1)]);
  return new RegExp([...forms].map(escaped).join("|"), "i");
}

/** Return the index of the first item whose sequence is at least this one. */
export function indexOf(items, sequence, from = (item) => item.sequence) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (from(items[middle]) < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Return the rows of a log. `filter` is { types: Set or null, text, internal, marks }. Work is done in slices; `onChange`
 * is called after each. `count`, `shown` (events), `searched` (events that were looked at) and `at(index)` tell the rows.
 */
export function createRows(onChange) {
  let items = [];
  let filter = { types: null, text: "", internal: false, marks: true };
  let find = null;
  let matches = []; // Indices of items.
  let marks = [];
  let marksShown = [];
  let markRows = []; // The row of each mark that is shown.
  let done = 0;
  let turn = 0;

  const matchesFilter = ({ kind, text }) => {
    if (kind.internal && !filter.internal) return false;
    if (filter.types !== null && !filter.types.has(kind.type)) return false;
    return find === null || find.test(text) || find.test(kind.type);
  };
  const markMatches = ({ entry: { kind, step, event, error, reason } }) => {
    if (!filter.marks || filter.types !== null) return false;
    return find === null || [kind, step, event, error, reason].some((text) => text && find.test(text));
  };

  const sequenceAt = (index) => items[matches[index]].sequence;
  const placeMarks = () => {
    // A mark stands behind the events up to its sequence.
    markRows = marksShown.map((mark, number) => indexOf(matches, mark.sequence + 1, (index) => items[index].sequence) + number);
  };
  const work = async () => {
    const mine = ++turn;
    while (done < items.length) {
      const began = performance.now();
      do {
        const until = Math.min(done + AT_ONCE, items.length);
        for (; done < until; done += 1) if (matchesFilter(items[done])) matches.push(done);
      } while (done < items.length && performance.now() - began < SLICE);
      placeMarks();
      onChange();
      if (done < items.length) await breathe();
      if (mine !== turn) return;
    }
  };
  const restart = () => {
    matches = [];
    done = 0;
    marksShown = marks.filter(markMatches);
    placeMarks();
    onChange();
    work();
  };

  return {
    get count() {
      return matches.length + marksShown.length;
    },
    get shown() {
      return matches.length;
    },
    get searched() {
      return done;
    },
    get find() {
      return find;
    },
    get filter() {
      return filter;
    },
    /** Look at the events that were added; at all of them where `isNew`. */
    update(now, isNew) {
      items = now;
      if (isNew || done > items.length) restart();
      else if (done < items.length) work();
    },
    setMarks(now) {
      marks = now;
      marksShown = marks.filter(markMatches);
      placeMarks();
      onChange();
    },
    setFilter(now) {
      filter = now;
      find = finder(now.text);
      restart();
    },
    /** Return { event } or { mark }. */
    at(row) {
      const before = indexOf(markRows, row + 1, (place) => place);
      if (before > 0 && markRows[before - 1] === row) return { mark: marksShown[before - 1] };
      const index = matches[row - before];
      return index === undefined ? null : { event: items[index] };
    },
    /** Return { row, sequence } of the first event at or behind a row, null where there is none. */
    eventFrom(row) {
      for (let at = row; at < this.count; at += 1) {
        const event = this.at(at)?.event;
        if (event) return { row: at, sequence: event.sequence };
      }
      return null;
    },
    /** Return the row of an event, or of the first one behind its place; -1 where there is none. */
    rowOf(sequence) {
      const index = indexOf(matches, sequence, (place) => items[place].sequence);
      if (index >= matches.length) return matches.length > 0 ? rowOfMatch(matches.length - 1) : -1;
      return rowOfMatch(index);
    },
    /** Return the row of the mark of a time, in milliseconds, else of the first event at or behind it. */
    rowAt(ms) {
      const mark = marksShown.findIndex((one) => one.ms === ms);
      if (mark >= 0) return markRows[mark];
      const index = indexOf(matches, ms, (place) => items[place].ms ?? -Infinity);
      return matches.length === 0 ? -1 : rowOfMatch(Math.min(index, matches.length - 1));
    },
    has: (sequence) => {
      const index = indexOf(matches, sequence, (place) => items[place].sequence);
      return index < matches.length && sequenceAt(index) === sequence;
    },
  };

  function rowOfMatch(index) {
    // Marks whose events come before this one: those placed at match <= index.
    let low = 0;
    let high = marksShown.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (markRows[middle] - middle <= index) low = middle + 1;
      else high = middle;
    }
    return index + low;
  }
}
