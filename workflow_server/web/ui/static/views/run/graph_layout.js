// The places of a workflow's steps and events: from its representation to boxes and lines.

const STEP_HEIGHT = 46;
const PILL_HEIGHT = 26;
const LABEL_HEIGHT = 16;
const LONGEST = 34; // Characters of a name that are drawn; the rest is in its title.

/** Return a name of at most `most` characters, cut in its middle: its end tells names apart as well as its beginning. */
export function shortened(name, most = LONGEST) {
  if (name.length <= most) return name;
  const half = Math.floor((most - 1) / 2);
  return `${name.slice(0, most - 1 - half)}…${name.slice(-half)}`;
}

/**
 * Return { nodes, links } of a representation. A node: { id, kind, name, title, description }; kinds step, start, stop,
 * human, failure, event and person. A link: { source, target, events }. An event between two steps is a label of their
 * link; one that several steps return or take, or none, is a node of its own.
 */
export function elementsOf(graph) {
  const byId = new Map(graph.nodes.map((node) => [node.id, node]));
  const isEvent = (id) => byId.get(id)?.node_type === "event";
  const shown = graph.edges.filter(({ source, target }) => isDrawn(byId.get(source)) && isDrawn(byId.get(target)));
  const into = grouped(shown, "target", "source");
  const from = grouped(shown, "source", "target");
  const isLabel = (id) => isEvent(id) && into.get(id)?.size === 1 && from.get(id)?.size === 1;
  const nodes = graph.nodes.filter((node) => isDrawn(node) && !isLabel(node.id)).map((node) => elementOf(node, into.has(node.id)));
  const links = new Map();
  const link = (source, target, event) => {
    const key = JSON.stringify([source, target]);
    if (!links.has(key)) links.set(key, { source, target, events: [] });
    if (event !== null) links.get(key).events.push(event);
  };
  for (const node of graph.nodes) {
    if (isLabel(node.id)) link([...into.get(node.id)][0], [...from.get(node.id)][0], node.label);
  }
  for (const { source, target } of shown) if (!isLabel(source) && !isLabel(target)) link(source, target, null);
  return { nodes, links: [...links.values()] };
}

/** Resources are what steps use, no part of the way that a run takes. */
const isDrawn = (node) => node !== undefined && !node.node_type.startsWith("resource");

function grouped(edges, key, value) {
  const groups = new Map();
  for (const edge of edges) {
    if (!groups.has(edge[key])) groups.set(edge[key], new Set());
    groups.get(edge[key]).add(edge[value]);
  }
  return groups;
}

function elementOf(node, isProduced) {
  const name = node.node_type === "external" ? "a human" : node.label;
  return { id: node.id, kind: kindOf(node, isProduced), name: shortened(name), title: name, description: node.description ?? null };
}

function kindOf(node, isProduced) {
  if (node.node_type === "external") return "person";
  if (node.node_type !== "event") return "step";
  const types = node.event_types ?? [];
  if (types.includes("StopEvent")) return "stop";
  if (types.includes("StepFailedEvent") && !isProduced) return "failure";
  if (types.includes("HumanResponseEvent") || types.includes("InputRequiredEvent")) return "human";
  return types.includes("StartEvent") && !isProduced ? "start" : "event";
}

/**
 * Return { width, height, nodes, links } with places: nodes get x and y, their centre, width and height; links get
 * points, and the place of their label. `measure(text, size, weight)` is the width of a text in pixels.
 */
export function layOut(dagre, { nodes, links }, measure) {
  const graph = new dagre.graphlib.Graph({ directed: true });
  graph.setGraph({ rankdir: "TB", nodesep: 22, edgesep: 14, ranksep: 28, marginx: 10, marginy: 10 });
  for (const node of nodes) graph.setNode(node.id, sizeOf(node, measure));
  for (const { source, target, events } of links) {
    const width = Math.max(0, ...events.map((event) => measure(shortened(event), 11.5, 400))) + 10;
    const size = events.length > 0 ? { width, height: LABEL_HEIGHT * Math.min(3, events.length) } : { width: 0, height: 0 };
    graph.setEdge(source, target, { ...size, labelpos: "c" });
  }
  dagre.layout(graph);
  const { width, height } = graph.graph();
  const placed = nodes.map((node) => ({ ...node, ...graph.node(node.id) }));
  placed.sort((one, other) => one.y - other.y || one.x - other.x);
  return { width, height, nodes: placed, links: links.map((link) => ({ ...link, ...graph.edge(link.source, link.target) })) };
}

function sizeOf({ kind, name }, measure) {
  if (kind === "step") return { width: Math.max(188, measure(name, 13, 600) + 28), height: STEP_HEIGHT };
  return { width: measure(name, 12, 400) + (kind === "event" ? 26 : 44), height: PILL_HEIGHT };
}

/** Return the path of a line through points, its corners rounded. */
export function pathOf(points) {
  const at = ({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  let path = `M${at(points[0])}`;
  for (let index = 1; index < points.length - 1; index += 1) {
    path += `Q${at(points[index])} ${at(index === points.length - 2 ? points[index + 1] : middle(points[index], points[index + 1]))}`;
  }
  return points.length > 2 ? path : `${path}L${at(points.at(-1))}`;
}

/** Return the path of the arrow's head at the end of a line. */
export function headOf(points) {
  const end = points.at(-1);
  const before = points.at(-2);
  const angle = Math.atan2(end.y - before.y, end.x - before.x);
  const corner = (turn) => `${(end.x - 8 * Math.cos(angle + turn)).toFixed(1)} ${(end.y - 8 * Math.sin(angle + turn)).toFixed(1)}`;
  return `M${end.x.toFixed(1)} ${end.y.toFixed(1)}L${corner(0.42)}L${corner(-0.42)}Z`;
}
