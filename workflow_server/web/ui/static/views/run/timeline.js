// The timeline of a run: a bar for each execution of a step, and what lay between them.
import { Button, Panel, announce } from "../../components/basics.js";
import { duration, exact, moment } from "../../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../../lib.js";
import { useNow, useStore } from "../../store.js";
import { AXIS, createChart } from "./timeline_chart.js";
import { Details, Tip, phrase } from "./timeline_details.js";
import { BANDS } from "./timeline_draw.js";
import { lanesOf, placeLanes } from "./timeline_layout.js";
import { attach, keyAction, neighbour } from "./timeline_pointer.js";

const TICK = 250; // Milliseconds between drawings of a run that goes on.
const HIGHEST = 460;
const FOOT = 18; // Pixels below the lanes, for the names of times without a server.
const LEGEND = [
  ["done", "done"], ["running", "running"], ["failed", "failed"], ["retried", "failed, tried again"], ["interrupted", "interrupted"],
  ["cancelled", "cancelled"], ["retry", "waits to retry"], ["wait", "waits"], ["down", "server down"], ["released", "out of memory"],
];

export function Timeline({ run }) {
  const { executions, spans, marks, handler, complete, loading, selection, entries } = useStore(run.store);
  const layout = useMemo(() => {
    const { lanes, ...extent } = lanesOf({ executions, spans, marks, handler });
    const hasBands = spans.some((span) => span.kind in BANDS && span.end !== span.begin);
    return { ...placeLanes(lanes, hasBands ? FOOT : 0), ...extent };
  }, [executions, spans, marks, handler]);
  const [shorten, setShorten] = useState(null);
  const [view, setView] = useState(null);
  const [tip, setTip] = useState(null);
  const box = useRef(null);
  const canvas = useRef(null);
  const chart = useChart({ box, canvas, setView, setTip, run });
  useChartData(chart, { ...layout, executions, spans, marks, selection, shorten });
  const chosen = useMemo(() => executions.find((one) => one.id === selection?.execution) ?? null, [executions, selection]);
  useRevealed(chart, box, layout, selection);

  const select = (execution) => {
    run.select(execution === null ? null : { execution: execution.id });
    if (execution !== null) announce(`${execution.step}, ${phrase(execution, Date.now())}`);
  };
  const move = (way) => select(neighbour(way, executions, layout.lanes, selection?.execution));
  const zoomTo = ({ begin, end }) => {
    const margin = Math.max(2, ((end ?? Date.now()) - begin) * 0.5);
    chart.current.show(begin - margin, (end ?? Date.now()) + margin);
  };
  const onKeyDown = (event) => {
    const isZoom = event.key === "Enter" && event.target === box.current && chosen !== null;
    const act = isZoom ? () => zoomTo(chosen) : keyAction(event, chart.current, { move, leave: () => select(null) });
    if (act === undefined) return;
    event.preventDefault();
    setTip(null);
    act();
  };
  const height = Math.min(HIGHEST, layout.height + AXIS + 4);
  const isEmpty = executions.length === 0 && spans.length === 0;
  return html`<${Panel} title="Timeline" class="timeline-panel" hint=${html`<${Hint} layout=${layout} view=${view} />`}
    actions=${html`<${Tools} chart=${chart} view=${view} setShorten=${setShorten} />`}>
    ${isEmpty && html`<p class="timeline-hint soft">${entries.length === 0 ? "Loading the history…" : "No step has begun yet."}</p>`}
    <div class="timeline" hidden=${isEmpty}>
      <div class="timeline-box" ref=${box} tabindex="0" role="group" aria-label="Timeline of the steps" aria-describedby="timeline-keys"
        style=${{ height: `${height}px` }} onKeyDown=${onKeyDown} onScroll=${() => chart.current?.invalidate()}>
        <div class="timeline-space" style=${{ height: `${layout.height + AXIS}px` }}>
          <div class="timeline-corner"></div>
          <canvas class="timeline-canvas" ref=${canvas} aria-hidden="true" style=${{ height: `${height - 2}px` }}></canvas>
          ${layout.lanes.map((lane) => html`
            <${LaneLabel} key=${lane.step} lane=${lane} isSelected=${selection?.step === lane.step} run=${run} />`)}
        </div>
      </div>
      ${tip && html`<${Tip} ...${tip} now=${Date.now()} />`}
    </div>
    <p class="offscreen" id="timeline-keys">Arrow keys choose an execution, plus and minus zoom, 0 shows all, Shift and arrows move, Enter
      zooms to the chosen one.</p>
    ${!complete && entries.length > 0 && html`<${Older} run=${run} loading=${loading} />`}
    <${Legend} executions=${executions} spans=${spans} />
    ${!isEmpty && !chosen && html`<p class="timeline-hint soft">Select a bar to see its times, events and error: with a click, or with the
      arrow keys.</p>`}
    ${chosen && html`<${Details} execution=${chosen} begin=${layout.begin} onMove=${move} onZoom=${() => zoomTo(chosen)}
      onClose=${() => select(null)} />`}
  </${Panel}>`;
}

/** Make the chart once its canvas is there. */
function useChart({ box, canvas, setView, setTip, run }) {
  const chart = useRef(null);
  useEffect(() => {
    const made = createChart(canvas.current, box.current, setView);
    chart.current = made;
    const detach = attach(canvas.current, made, {
      onChoose: (item) => run.select(item === null ? null : chosenBy(item)),
      onHover: (item, x, y) => setTip(item && { item, x: x + canvas.current.offsetLeft, y }),
    });
    return () => {
      detach();
      made.stop();
    };
  }, [run]);
  return chart;
}

const chosenBy = ({ execution, step, begin }) => (execution === null ? { step, time: begin } : { execution: execution.id });

/** Give a chart what it draws; while the run goes on, its end moves by itself. */
function useChartData(chart, { lanes, begin, end, executions, spans, marks, selection, shorten }) {
  useEffect(() => chart.current.set({ lanes, begin, end, executions, spans, marks }), [lanes]);
  useEffect(() => chart.current.set({ selection, shorten }), [selection, shorten]);
  const isLive = end === null && begin !== null;
  useEffect(() => {
    if (!isLive) return undefined;
    const timer = setInterval(() => document.hidden || chart.current.invalidate(), TICK);
    return () => clearInterval(timer);
  }, [isLive]);
}

/** Bring what was selected elsewhere into sight. */
function useRevealed(chart, box, { lanes }, selection) {
  useEffect(() => {
    if (selection === null) return;
    if (selection.time !== null && selection.time !== undefined) chart.current.reveal(selection.time);
    const lane = lanes.find((one) => one.step === selection.step);
    if (!lane) return;
    const isThere = (items) => items.some((item) => item.execution !== null && item.execution.id === selection.execution);
    const top = lane.top + Math.max(0, lane.rows.findIndex(isThere)) * lane.size.row;
    const { scrollTop, clientHeight } = box.current;
    if (top < scrollTop || top + 30 > scrollTop + clientHeight - AXIS) box.current.scrollTo(0, Math.max(0, top - clientHeight / 3));
  }, [selection, lanes.length]);
}

function LaneLabel({ lane, isSelected, run }) {
  const style = { top: `${AXIS + lane.top}px`, height: `${lane.height}px` };
  return html`<button type="button" class="timeline-lane" style=${style} aria-pressed=${isSelected} title=${lane.step}
    onClick=${() => run.select(isSelected ? null : { step: lane.step })}><bdi>${lane.step || "run"}</bdi></button>`;
}

function Hint({ layout: { begin, end }, view }) {
  const now = useNow();
  if (begin === null) return null;
  const length = duration(((end ?? now) - begin) / 1000);
  if (view === null || !view.isZoomed) return html`<span class="num">${length}</span><span class="timeline-mouse"> · drag to zoom</span>`;
  const isFine = view.to - view.from < 10_000;
  const at = (time) => (isFine ? exact(time) : moment(time, now, { seconds: true }));
  return html`<span class="num">${at(view.from)} – ${at(view.to)}</span>`;
}

function Tools({ chart, view, setShorten }) {
  const isAll = !view?.isZoomed;
  return html`${view?.hasPauses && html`
      <${Button} small aria-pressed=${view.isShort} onClick=${() => setShorten(!view.isShort)}>Shorten pauses</${Button}>`}
    <${Button} small aria-label="Zoom out of the timeline" disabled=${isAll} onClick=${() => chart.current.zoom(1 / 1.5)}>−</${Button}>
    <${Button} small aria-label="Zoom into the timeline" onClick=${() => chart.current.zoom(1.5)}>+</${Button}>
    <${Button} small aria-label="Show all of the timeline" disabled=${isAll} onClick=${() => chart.current.fit()}>Fit</${Button}>`;
}

function Older({ run, loading }) {
  if (loading) return html`<p class="timeline-hint soft">Loading what is older…</p>`;
  return html`<p class="timeline-hint soft">What is older is not loaded.
    <${Button} small onClick=${run.loadMore}>Load more</${Button}></p>`;
}

/** The kinds that are seen in this run. */
function Legend({ executions, spans }) {
  const kinds = useMemo(() => {
    const seen = spans.filter((one) => one.end !== one.begin).map((one) => one.kind);
    return new Set([...executions.map((one) => one.outcome), ...seen]);
  }, [executions, spans]);
  return html`<ul class="timeline-legend" aria-label="Legend">${LEGEND.filter(([kind]) => kinds.has(kind)).map(([kind, text]) => html`
    <li key=${kind}><i class="swatch ${kind}"></i>${text}</li>`)}</ul>`;
}
