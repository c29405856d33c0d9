// What the log shows, as a hook: the events and the rows made of them, the filters in the link, the selection.
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "../../lib.js";
import { setQuery, usePlace } from "../../router.js";
import { useStore } from "../../store.js";
import { createEventLog } from "./events.js";
import { createRows, indexOf, marksOf } from "./log_rows.js";
import { contextOf } from "./sentences.js";

const TYPING = 250; // Milliseconds after the last key until the link follows.

/** Return a function that has the component drawn again, once a frame. */
function useRedraw() {
  const [, redraw] = useReducer((turn) => turn + 1, 0);
  const asked = useRef(null);
  useEffect(() => () => cancelAnimationFrame(asked.current), []);
  return () => {
    if (asked.current !== null) return;
    asked.current = requestAnimationFrame(() => {
      asked.current = null;
      redraw();
    });
  };
}

/** Return the filters as the link has them, and how to change them. */
export function useFilters() {
  const { query } = usePlace();
  const [text, setText] = useState(query.get("find") ?? "");
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const types = query.getAll("type");
  return {
    text,
    types,
    internal: query.get("internal") === "1",
    earlier: query.get("earlier") === "1",
    marks: query.get("marks") !== "0",
    setText(now) {
      setText(now);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setQuery({ find: now }, { replace: true }), TYPING);
    },
    set: (changes) => setQuery(changes, { replace: true }),
  };
}

/** Return the start of the run in which each event lies, by its sequence, in milliseconds. */
function startsOf(marks, items) {
  const starts = marks.filter(({ entry, ms }) => ms !== null && (entry.kind === "started" || entry.kind === "retried"));
  return (sequence) => {
    const after = indexOf(starts, sequence, (mark) => mark.sequence);
    return (starts[after - 1] ?? starts[0])?.ms ?? items[0]?.ms ?? null;
  };
}

/** Return { log, state, rows, starts } of a handler's log; `list` is the handle of the list that shows it. */
export function useLog(run, handler, filters, list) {
  const redraw = useRedraw();
  const [{ log, rows }] = useState(() => ({
    log: createEventLog(handler.handler_id, { internal: filters.internal, earlier: filters.earlier }),
    rows: createRows(redraw),
  }));
  const anchor = useRef(null);
  /** Note what is in sight, before the rows change: the event that is selected, or the first one. */
  const keepPlace = () => {
    const sequence = run.store.get().selection?.sequence ?? null;
    if (sequence !== null) anchor.current = { sequence, share: 0.4 };
    const row = list.current && !list.current.isAtEnd() ? rows.at(list.current.first()) : null;
    if (row !== null) anchor.current ??= { sequence: (row.event ?? row.mark).sequence, share: 0 };
  };
  useEffect(() => {
    let generation = log.store.get().generation;
    const stop = log.store.subscribe((state) => {
      if (state.generation !== generation) keepPlace();
      rows.update(state.items, state.generation !== generation);
      generation = state.generation;
      redraw();
    });
    return () => {
      stop();
      log.stop();
    };
  }, []);

  const state = log.store.get();
  const loadsInternal = filters.internal || state.internal; // Once they are here, they are only hidden.
  useEffect(() => {
    const { earlier } = filters;
    if (loadsInternal !== state.internal || earlier !== state.earlier) log.show({ internal: loadsInternal, earlier });
  }, [loadsInternal, filters.earlier]);

  const filterKey = JSON.stringify([filters.types, filters.text, filters.internal, filters.marks]);
  useEffect(() => {
    keepPlace();
    const { types, text, internal, marks } = filters;
    rows.setFilter({ types: types.length > 0 ? new Set(types) : null, text, internal, marks });
  }, [filterKey]);

  const entries = useStore(run.store, (value) => value.entries);
  const marks = useMemo(() => marksOf(entries ?? [], filters.earlier ? null : handler.run_id), [entries, filters.earlier, handler.run_id]);
  // Events that were followed before the handler was continued are of earlier runs.
  const starts = useMemo(() => marksOf(entries ?? [], null), [entries]);
  const shift = useRef(0);
  useEffect(() => {
    const seen = list.current && !list.current.isAtEnd() ? rows.eventFrom(list.current.first()) : null;
    rows.setMarks(marks);
    if (seen !== null) shift.current += rows.rowOf(seen.sequence) - seen.row;
  }, [marks]);
  useLayoutEffect(() => {
    if (shift.current === 0 || !list.current) return;
    list.current.shift(shift.current);
    shift.current = 0;
  });

  // After an end, only another run of the handler has events.
  const readRun = useRef(handler.run_id);
  useEffect(() => {
    if (!state.ended || readRun.current === handler.run_id) return;
    readRun.current = handler.run_id;
    log.resume();
  }, [state.ended, handler.run_id]);

  const isSearching = rows.searched < state.items.length;
  useLayoutEffect(() => {
    if (isSearching || anchor.current === null || !list.current) return;
    list.current.toRow(Math.max(0, rows.rowOf(anchor.current.sequence)), anchor.current.share);
    anchor.current = null;
  });
  const { executions, spans } = run.store.get();
  const context = useMemo(() => contextOf(executions, spans), [executions, spans]);
  return { log, state, rows, isSearching, marks, context, startOf: startsOf(starts, state.items) };
}
