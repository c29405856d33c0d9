// The graph of a workflow: its steps and events, and where a run stands in it.
import { Button, Panel } from "../../components/basics.js";
import { html, useEffect, useMemo, useRef, useState } from "../../lib.js";
import { useStore } from "../../store.js";
import { Drawing, measure } from "./graph_drawing.js";
import { elementsOf, layOut } from "./graph_layout.js";
import { useZoom } from "./graph_zoom.js";
import { stepStates } from "./step_states.js";
import { StepTable } from "./step_table.js";

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
    ${registered === null && handler !== null && html`
      <p class="graph-hint soft">This workflow is not registered here: only the steps that have begun are known.</p>`}
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
 * that were seen in it; `unknown` the text of a step without a state. `onSelect(step)` makes steps buttons.
 */
export function WorkflowGraph({ graph, states = null, seen = null, selected = null, onSelect = null, unknown = "not begun" }) {
  const [wantsTable, setTable] = useState(false);
  const { layout, failed } = useLayout(graph);
  const isTable = wantsTable || failed;
  const view = useZoom(layout);
  useReveal(view.box, layout, view.scale, selected, states);
  const rest = { states, selected, onSelect, unknown };
  return html`<div class="graph">
    <div class="graph-tools">
      <${Button} small aria-pressed=${isTable} disabled=${failed} onClick=${() => setTable(!isTable)}>List</${Button}>
      <${Button} small disabled=${isTable} aria-label="Zoom out" onClick=${() => view.zoom(1 / 1.25)}>−</${Button}>
      <${Button} small disabled=${isTable} aria-label="Zoom in" onClick=${() => view.zoom(1.25)}>+</${Button}>
      <${Button} small disabled=${isTable} aria-label="Fit the graph" onClick=${view.fit}>Fit</${Button}>
    </div>
    ${isTable && graph && html`<${StepTable} graph=${graph} ...${rest} />`}
    <div class="graph-view" hidden=${isTable} ref=${view.box} style=${{ height: `${view.height}px` }} tabindex=${onSelect ? undefined : 0}
      onKeyDown=${view.onKeyDown} onPointerDown=${view.onPointerDown}>
      ${layout && html`<${Drawing} layout=${layout} scale=${view.scale} name=${graph.name} seen=${seen} ...${rest} />`}</div>
  </div>`;
}

let loading = null;

/** Return { layout, failed }: the layout of a graph is null until the library is there, which may fail to come. */
function useLayout(graph) {
  const [dagre, setDagre] = useState(null);
  useEffect(() => {
    loading ??= import("../../vendor/dagre.js");
    let isOver = false;
    const failed = () => {
      loading = null;
      if (!isOver) setDagre(false);
    };
    loading.then((library) => isOver || setDagre(library), failed);
    return () => (isOver = true);
  }, []);
  const layout = useMemo(() => (dagre && graph?.nodes.length ? layOut(dagre, elementsOf(graph), measure) : null), [dagre, graph]);
  return { layout, failed: dagre === false };
}

/** Bring the selected step into sight; at first, the one that something happens in. */
function useReveal(box, layout, scale, selected, states) {
  const hasBegun = useRef(false);
  useEffect(() => {
    if (!layout || !box.current) return;
    const wanted = selected ?? (hasBegun.current || states === null ? null : busiest(layout.nodes, states));
    const node = layout.nodes.find(({ id }) => id === wanted);
    if (!node) return;
    hasBegun.current = true;
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = box.current;
    const [x, y] = [node.x * scale, node.y * scale];
    const isSeen = y > scrollTop + 30 && y < scrollTop + clientHeight - 30 && x > scrollLeft + 60 && x < scrollLeft + clientWidth - 60;
    if (!isSeen) box.current.scrollTo(x - clientWidth / 2, y - clientHeight / 2);
  }, [layout, selected, states === null || Object.keys(states).length === 0]);
}

/** Return the step in which something happens, or where it ended. */
function busiest(nodes, states) {
  for (const kind of ["running", "retrying", "waiting", "failed"]) {
    const found = nodes.find(({ id }) => states[id]?.kind === kind);
    if (found) return found.id;
  }
  return null;
}
