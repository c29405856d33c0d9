// The log of a run: its events as they come, what else happened in between, and the payload of the one that is selected.
import { Button, Empty, Failure, Panel } from "../../components/basics.js";
import { VirtualList } from "../../components/virtual_list.js";
import { count, number } from "../../format.js";
import { html, useEffect, useRef, useState } from "../../lib.js";
import { hasEnded } from "../../status.js";
import { useStore } from "../../store.js";
import { EventPane, MarkPane } from "./event_pane.js";
import { useFilters, useLog } from "./log_model.js";
import { Row } from "./log_row.js";
import { indexOf } from "./log_rows.js";
import { LogTools } from "./log_tools.js";

const NARROW = matchMedia("(max-width: 720px)");

/** Return the height of a row: two lines where there is little room. */
function useRowHeight() {
  const [isNarrow, setNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const note = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", note);
    return () => NARROW.removeEventListener("change", note);
  }, []);
  return isNarrow ? 46 : 30;
}

export function EventLog({ run }) {
  const handler = useStore(run.store, (value) => value.handler);
  if (!handler) return html`<${Panel} title="Log"><p class="inner soft" role="status">Loading…</p></${Panel}>`;
  return html`<${Log} key=${handler.handler_id} run=${run} handler=${handler} />`;
}

function Log({ run, handler }) {
  const list = useRef(null);
  const filters = useFilters();
  const shown = useLog(run, handler, filters, list);
  const { state, rows } = shown;
  const selection = useSelection(run, shown, list, filters);
  const [isAtEnd, setAtEnd] = useState(true);
  const [opensAtEnd] = useState(() => !hasEnded(handler) && !run.store.get().selection);
  const isLive = !state.ended;
  const isSettled = useSettled(state.ended);
  const wasOver = useRef(false);
  wasOver.current ||= isSettled;
  const follows = !isSettled && (opensAtEnd || wasOver.current);
  const hint = `${hintOf(shown, filters)}${follows && isLive && isAtEnd && rows.count > 0 && !state.loading ? ", following" : ""}`;
  return html`<${Panel} title="Log" class="log" hint=${hint}
      actions=${html`<${LogTools} filters=${filters} shown=${shown} handler=${handler} />`}>
    ${state.error && html`<div class="inner"><${Failure} error=${state.error} onRetry=${shown.log.resume} /></div>`}
    <div class="log-body ${selection.open ? "with-pane" : ""}"
      onKeyDown=${(event) => selection.open && event.key === "Escape" && selection.close()}>
      <div class="log-list">
        <${Rows} list=${list} shown=${shown} selection=${selection} follows=${follows} onScroll=${setAtEnd} run=${run} />
        <${ToEnd} list=${list} isAtEnd=${isAtEnd || rows.count === 0} isLive=${isLive} />
        ${rows.count === 0 && html`<${Nothing} shown=${shown} filters=${filters} handler=${handler} />`}
      </div>
      <${Pane} selection=${selection} shown=${shown} id=${handler.handler_id} list=${list} />
    </div>
  </${Panel}>`;
}

/** Return whether a log has ended, and its last rows have been drawn. */
function useSettled(ended) {
  const [isSettled, setSettled] = useState(false);
  useEffect(() => {
    if (!ended) return setSettled(false);
    const timer = setTimeout(() => setSettled(true), 1000);
    return () => clearTimeout(timer);
  }, [ended]);
  return isSettled;
}

function hintOf({ state, rows, isSearching }, filters) {
  const total = state.items.length + state.forgotten;
  if (state.loading) return "loading…";
  const isFiltered = filters.text !== "" || filters.types.length > 0;
  const isPart = isFiltered || (!isSearching && rows.shown < total);
  const text = isPart ? `${number(rows.shown)} of ${count(total, "event")}` : count(total, "event");
  if (isSearching && filters.text !== "") return `${text}, ${Math.floor((rows.searched / state.items.length) * 100)} % searched`;
  return state.switching ? `${text}, loading more…` : text;
}

/** Return what tells selections apart: what is found out about one later does not change it. */
function keyOf(selection) {
  if (!selection) return null;
  const { sequence = null, time = null, execution = null } = selection;
  return sequence === null ? `${time} ${execution}` : String(sequence);
}

/** The part of a log that the rest of the page shares: what is selected. Another part's selection is scrolled to. */
function useSelection(run, { log, state, rows, isSearching, marks }, list, filters) {
  const selection = useStore(run.store, (value) => value.selection);
  const [mark, setMark] = useState(null);
  const [active, setActive] = useState(null);
  const own = useRef(undefined);
  const waits = useRef(false);
  const key = keyOf(selection);
  useEffect(() => {
    if (key === own.current) return;
    waits.current = key !== null;
    setMark(null);
  }, [key]);
  const near = rowOfSelection(selection, rows);
  useEffect(() => {
    if (!waits.current || !list.current || isSearching || log.store.get().switching) return;
    const start = /^(started|retried)$/.test(marks[0]?.entry.kind) ? marks[0].ms : null; // Else it is not loaded yet.
    if (!filters.earlier && start !== null && (selection.time ?? start) < start) {
      filters.set({ earlier: "1" }); // What is selected happened in an earlier run.
      return;
    }
    if (near < 0) return;
    if (!state.ended && (selection.sequence ?? -1) > (state.items.at(-1)?.sequence ?? -1)) return; // It is still to come.
    waits.current = false;
    list.current.reveal(near);
    setActive(near);
  });

  const choose = (at) => {
    const row = rows.at(at);
    if (row === null) return;
    setActive(at);
    setMark(row.mark ?? null);
    const { event, mark } = row;
    run.select(event ? { sequence: event.sequence, time: event.ms, step: stepOf(event) } : { time: mark.ms, step: mark.entry.step });
    own.current = keyOf(run.store.get().selection);
  };
  const close = () => {
    setMark(null);
    run.select(null);
    list.current?.focus();
  };
  const sequence = mark === null ? (selection?.sequence ?? null) : null;
  const found = sequence === null ? undefined : state.items[indexOf(state.items, sequence)];
  const event = found?.sequence === sequence && rows.has(sequence) ? found : null;
  // An execution that was selected elsewhere is shown by its place; the payload is that of what is selected here.
  const isOpen = mark !== null || (event !== null && (!selection.execution || own.current === key));
  return { event, mark, active, setActive, near, choose, close, open: isOpen };
}

/** Return the row that shows a selection best; -1 where none does. */
function rowOfSelection(selection, rows) {
  if (!selection) return -1;
  if (selection.sequence !== undefined && selection.sequence !== null) return rows.rowOf(selection.sequence);
  return selection.time === undefined || selection.time === null ? -1 : rows.rowAt(selection.time);
}

/** Return the step that an internal event is about; other events do not tell. */
function stepOf(event) {
  if (event.kind.type !== "StepStateChanged" || !event.kind.internal) return null;
  try {
    return JSON.parse(event.text).name ?? null;
  } catch {
    return null;
  }
}

function Rows({ list, shown, selection, follows, onScroll }) {
  const { rows, startOf } = shown;
  const height = useRowHeight();
  const id = (index) => `log-row-${index}`;
  const isOpen = selection.open;
  const move = (index) => (isOpen ? selection.choose(index) : selection.setActive(index));
  const draw = (index) => {
    const row = rows.at(index);
    if (row === null) return null;
    const isSelected = row.event ? row.event === selection.event && selection.mark === null : row.mark === selection.mark;
    const isNear = selection.mark === null && selection.near === index;
    const name = `${isSelected ? "selected" : isNear ? "near" : ""} ${selection.active === index ? "active" : ""}`;
    return html`<${Row} key=${row.event ? row.event.sequence : `m${row.mark.entry.cursor}`} row=${row} id=${id(index)}
      find=${rows.find} selected=${isSelected || isNear}
      name=${name} base=${startOf((row.event ?? row.mark).sequence)} context=${shown.context} onClick=${() => selection.choose(index)} />`;
  };
  return html`<${VirtualList} handle=${list} count=${rows.count} height=${height} row=${draw} follow=${follows}
    onScroll=${onScroll} label="Events"
    class="rows-${height}" idOf=${id} active=${selection.active} onActive=${move} onChoose=${selection.choose} fit />`;
}

function ToEnd({ list, isAtEnd, isLive }) {
  if (isAtEnd) return null;
  return html`<${Button} small class="btn small to-end" onClick=${() => list.current.toEnd()}>
    ↓ ${isLive ? "Follow the end" : "To the end"}</${Button}>`;
}

function Pane({ selection, shown, id, list }) {
  if (!selection.open) return null;
  const { event, mark } = selection;
  const step = (by) => {
    const at = (selection.active ?? selection.near) + by;
    if (at < 0 || at >= shown.rows.count) return;
    selection.choose(at);
    list.current.reveal(at);
  };
  const rest = { onClose: selection.close, onStep: step, base: shown.startOf((event ?? mark).sequence) };
  if (mark) return html`<${MarkPane} mark=${mark} context=${shown.context} ...${rest} />`;
  return html`<${EventPane} id=${id} event=${event} ...${rest} />`;
}

function Nothing({ shown, filters, handler }) {
  const { state } = shown;
  if (state.loading || shown.isSearching || state.error) return null;
  if (state.items.length > 0) {
    const clear = () => {
      filters.setText("");
      filters.set({ type: [], find: "", marks: "" });
    };
    return html`<${Empty} title="No event matches"><p>${count(state.items.length, "event")} of this run do not.</p>
      <${Button} onClick=${clear}>Clear the filters</${Button}></${Empty}>`;
  }
  return html`<${Empty} title="No events">
    <p>${hasEnded(handler) ? "This run published none." : "They appear here as the run publishes them."}</p>
    <p>Steps publish with <code>ctx.write_event_to_stream(…)</code>; “internal events” shows what the engine does.</p></${Empty}>`;
}
