// The graph of a workflow: its steps and events, and where a run stands in it.
import { Button, Panel } from "../../components/basics.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../lib.js";
import { useStore } from "../../store.js";
import { elementsOf, headOf, layOut, pathOf, shortened } from "./graph_layout.js";
import { stepStates } from "./step_states.js";
import { StepTable } from "./step_table.js";

const SMALLEST = 0.25;
const LARGEST = 2;
const READABLE = 0.62; // A graph that would be narrower than this to fit is scrolled,
const COMFORTABLE = 0.75; // and so is one that would be lower than this.

/** The graph of a run's workflow with the state of each step. */
export function RunGraph({ run }) {
  const executions = useStore(run.store, (value) => value.executions);
  const spans = useStore(run.store, (value) => value.spans);
  const handler = useStore(run.store, (value) => value.handler);
  const registered = useStore(run.store, (value) => value.graph);
  const selected = useStore(run.store, (value) => value.selection?.step ?? null);
  const complete = useStore(run.store, (value) => value.complete);
  const states = useMemo(() => stepStates({ executions, spans, handler }), [executions, spans, handler]);
  const graph = useGraphWith(registered, Object.keys(states).join("\n"));
  const seen = useMemo(() => new Set(executions.flatMap(({ event, returned }) => [event, returned])), [executions]);
  const select = (step) => run.select(step === selected ? null : { step });
  return html`<${Panel} title="Graph" class="graph-panel">
    ${registered === null && handler !== null && html`<p class="graph-hint soft">This workflow is not registered here: only the steps that have begun are known.</p>`}
    <${WorkflowGraph} graph=${graph} states=${states} seen=${seen} selected=${selected} onSelect=${select}
      unknown=${complete ? "not begun" : "not loaded yet"} />
  </${Panel}>`;
}

/** Return a graph with the steps that ran, but are not in it: of nested workflows, or of another version of the code. */
function useGraphWith(graph, names) {
  return useMemo(() => {
    const nodes = graph?.nodes ?? [];
    const known = new Set(nodes.map((node) => node.id));
    const others = names.split("\n").filter((name) => name !== "" && !known.has(name));
    if (graph !== null && others.length === 0) return graph;
    const added = others.map((name) => ({ id: name, label: name, node_type: "step" }));
    return { name: graph?.name ?? "", nodes: [...nodes, ...added], edges: graph?.edges ?? [] };
  }, [graph, names]);
}

/**
 * A graph of steps. `states` is { STEP: { kind, text } }, null for a graph without a run; `seen` is a Set of the events
 * that were seen in it; `unknown` the text of a step without a state. `onSelect(step)` is called with the name of a step.
 */
export function WorkflowGraph({ graph, states = null, seen = null, selected = null, onSelect = () => {}, unknown = "not begun" }) {
  const [isTable, setTable] = useState(false);
  const layout = useLayout(graph);
  const view = useZoom(layout);
  useReveal(view.box, layout, view.scale, selected, states);
  const rest = { states, selected, onSelect, unknown };
  return html`<div class="graph">
    <div class="graph-tools">
      <${Button} small aria-pressed=${isTable} onClick=${() => setTable(!isTable)}>List</${Button}>
      <${Button} small disabled=${isTable} aria-label="Zoom out" onClick=${() => view.zoom(1 / 1.25)}>−</${Button}>
      <${Button} small disabled=${isTable} aria-label="Zoom in" onClick=${() => view.zoom(1.25)}>+</${Button}>
      <${Button} small disabled=${isTable} aria-label="Fit the graph" onClick=${view.fit}>Fit</${Button}>
    </div>
    ${isTable ? html`<${StepTable} graph=${graph} ...${rest} />`
              : html`<div class="graph-view" ref=${view.box} onKeyDown=${view.onKeyDown} onPointerDown=${view.onPointerDown}>
      ${layout && html`<${Drawing} layout=${layout} scale=${view.scale} name=${graph.name} seen=${seen} ...${rest} />`}</div>`}
  </div>`;
}

let loading = null;

/** Return the layout of a graph, null until the library is there. */
function useLayout(graph) {
  const [dagre, setDagre] = useState(null);
  useEffect(() => {
    loading ??= import("../../vendor/dagre.js");
    let isOver = false;
    loading.then((library) => isOver || setDagre(library), () => (loading = null));
    return () => (isOver = true);
  }, []);
  return useMemo(() => (dagre === null || !graph?.nodes.length ? null : layOut(dagre, elementsOf(graph), measure)), [dagre, graph]);
}

let context = null;

function measure(text, size, weight) {
  context ??= document.createElement("canvas").getContext("2d");
  context.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return context.measureText(text).width;
}

/** Keep the scale of a drawing in a box that scrolls: { box, scale, zoom(factor), fit, onKeyDown, onPointerDown }. */
function useZoom(layout) {
  const box = useRef(null);
  const [size, setSize] = useState({ width: 400, height: 400 });
  const [asked, setAsked] = useState(null);
  const anchor = useRef(null);
  const width = layout?.width ?? 1;
  const height = layout?.height ?? 1;
  const whole = Math.min(1, size.width / width, size.height / height);
  const scale = asked ?? Math.max(READABLE, Math.min(1, size.width / width, Math.max(COMFORTABLE, size.height / height)));
  const zoom = (factor, at = { x: size.width / 2, y: size.height / 2 }) => {
    const element = box.current;
    if (!element) return;
    const next = Math.min(LARGEST, Math.max(SMALLEST, scale * factor));
    anchor.current = { x: (element.scrollLeft + at.x) * (next / scale) - at.x, y: (element.scrollTop + at.y) * (next / scale) - at.y };
    setAsked(next);
  };
  useLayoutEffect(() => {
    if (anchor.current && box.current) box.current.scrollTo(anchor.current.x, anchor.current.y);
    anchor.current = null;
  }, [scale]);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setSize({ width: element.clientWidth, height: element.clientHeight }));
    observer.observe(element);
    return () => observer.disconnect();
  }, [box.current]);
  const latest = useRef(zoom);
  latest.current = zoom;
  useWheel(box, latest);
  const fit = () => setAsked(Math.max(SMALLEST, whole));
  const onKeyDown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(1 / 1.25), 0: fit }[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  };
  return { box, scale, zoom, fit, onKeyDown, onPointerDown: (event) => drag(event, box.current) };
}

/** Zoom with the wheel while Ctrl is pressed, as a touchpad's pinch does; without it the wheel scrolls. */
function useWheel(box, zoom) {
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const onWheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const { left, top } = element.getBoundingClientRect();
      zoom.current(Math.exp(-event.deltaY / 300), { x: event.clientX - left, y: event.clientY - top });
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, [box.current]);
}

/** Scroll a box by dragging what is in it. Fingers scroll by themselves. */
function drag(event, element) {
  if (event.pointerType !== "mouse" || event.button !== 0) return;
  const from = { x: event.clientX + element.scrollLeft, y: event.clientY + element.scrollTop };
  const move = (now) => element.scrollTo(from.x - now.clientX, from.y - now.clientY);
  const stop = () => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", stop);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", stop);
}

/** Bring the selected step into sight; at first, the one that something happens in. */
function useReveal(box, layout, scale, selected, states) {
  const hasBegun = useRef(false);
  useEffect(() => {
    if (!layout || !box.current) return;
    const kinds = ["running", "retrying", "waiting", "failed"];
    const wanted = selected ?? (hasBegun.current || states === null ? null
      : layout.nodes.filter(({ id }) => kinds.includes(states[id]?.kind)).sort((a, b) => kinds.indexOf(states[a.id].kind) - kinds.indexOf(states[b.id].kind))[0]?.id);
    const node = layout.nodes.find(({ id }) => id === wanted);
    if (!node) return;
    hasBegun.current = true;
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = box.current;
    const [x, y] = [node.x * scale, node.y * scale];
    const isSeen = y > scrollTop + 30 && y < scrollTop + clientHeight - 30 && x > scrollLeft + 60 && x < scrollLeft + clientWidth - 60;
    if (!isSeen) box.current.scrollTo(x - clientWidth / 2, y - clientHeight / 2);
  }, [layout, selected, states === null || Object.keys(states).length === 0]);
}

function Drawing({ layout, scale, name, states, seen, selected, onSelect, unknown }) {
  const { width, height, nodes, links } = layout;
  const hasBegun = (id) => states === null || (nodes.find((node) => node.id === id)?.kind === "step" ? id in states : true);
  const wasTaken = ({ source, target, events }) => states === null || (hasBegun(source) && hasBegun(target)
    && (seen === null || [...events, source, target].some((one) => seen.has(one)) || events.length + (states[source] ? 1 : 0) === 0));
  const steps = nodes.filter((node) => node.kind === "step").length;
  const isWaiting = Object.values(states ?? {}).some((state) => state.kind === "waiting");
  return html`<svg class="graph-drawing" role="group" aria-label=${`Graph of ${name}, ${steps === 1 ? "1 step" : `${steps} steps`}`}
    width=${width * scale} height=${height * scale} viewBox=${`0 0 ${width} ${height}`}>
    <g aria-hidden="true">${links.map((link) => html`<${Link} key=${`${link.source}>${link.target}`} link=${link} taken=${wasTaken(link)} />`)}</g>
    ${nodes.map((node) => (node.kind === "step"
      ? html`<${Step} key=${node.id} node=${node} state=${states && (states[node.id] ?? { kind: "idle", text: unknown })} isSelected=${selected === node.id} onSelect=${onSelect} />`
      : html`<${Pill} key=${node.id} node=${node} isWaiting=${isWaiting} />`))}
  </svg>`;
}

function Link({ link, taken }) {
  return html`<g class=${taken ? "graph-link" : "graph-link faintly"}>
    <path d=${pathOf(link.points)} /><path class="graph-head" d=${headOf(link.points)} />
    ${link.events.slice(0, 3).map((event, index) => html`<text key=${event} x=${link.x} y=${link.y + 4 + 15 * (index - (Math.min(3, link.events.length) - 1) / 2)}>${
      index === 2 && link.events.length > 3 ? `${link.events.length - 2} more` : shortened(event)}</text>`)}
  </g>`;
}

const GLYPHS = {
  done: "M0.5 4.5l2.5 2.5 5-6", failed: "M1 1l6.5 6.5M7.5 1l-6.5 6.5", waiting: "M2 1v7M6.5 1v7", running: "M2 0.5l6 4-6 4z",
  retrying: "M7.5 4.5a3.2 3.2 0 1 1-1-2.4M7 -0.5v3h-3", cancelled: "M1 4.5h7", idle: "M4.5 4.5h.1",
};

function Step({ node, state, isSelected, onSelect }) {
  const { x, y, width, height, title, name, description } = node;
  const { kind, text } = state ?? { kind: "plain", text: null };
  const onKeyDown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    onSelect(node.id);
  };
  return html`<g class="graph-step ${kind}" role="button" tabindex="0" aria-pressed=${isSelected}
    aria-label=${text === null ? title : `${title}: ${text}`} transform=${`translate(${x - width / 2} ${y - height / 2})`}
    onClick=${() => onSelect(node.id)} onKeyDown=${onKeyDown}>
    <title>${description === null ? title : `${title}: ${description}`}</title>
    <rect class="graph-box" width=${width} height=${height} rx="7" />
    <text class="graph-name" x=${width / 2} y=${text === null ? height / 2 + 5 : 19}>${name}</text>
    ${text !== null && html`<${StateLine} kind=${kind} text=${text} width=${width} />`}
  </g>`;
}

/** A glyph and the text of a state, centred together: as many of its parts as there is room for. */
function StateLine({ kind, text, width }) {
  const parts = text.split(" · ");
  while (parts.length > 1 && measure(parts.join(" · "), 11.5, 400) > width - 30) parts.pop();
  const shown = parts.length > 1 ? parts.join(" · ") : shortened(parts[0], Math.floor((width - 30) / 6));
  const half = (measure(shown, 11.5, 400) + 14) / 2;
  return html`<path class="graph-glyph" d=${GLYPHS[kind]} transform=${`translate(${width / 2 - half} 29.5)`} />
    <text class="graph-state" x=${width / 2 + 7} y="38">${shown}</text>`;
}

const PERSON = "M6 6.2a2.6 2.6 0 1 0 0-5.2 2.6 2.6 0 0 0 0 5.2M1 12.5c.4-3 2.3-4.4 5-4.4s4.6 1.4 5 4.4";

function Pill({ node, isWaiting }) {
  const { x, y, width, height, kind, name, title } = node;
  const isPerson = kind === "person" || kind === "human";
  const words = { start: "start", stop: "end", person: "", human: "human", failure: "after a failure", event: "" }[kind];
  return html`<g class="graph-pill ${kind} ${kind === "person" && isWaiting ? "waiting" : ""}" transform=${`translate(${x - width / 2} ${y - height / 2})`}>
    <title>${words ? `${title} (${words})` : title}</title>
    <rect width=${width} height=${height} rx=${height / 2} />
    ${isPerson && html`<path class="graph-glyph" d=${PERSON} transform="translate(10 6)" />`}
    <text x=${width / 2 + (isPerson ? 7 : 0)} y="17">${name}</text>
  </g>`;
}
