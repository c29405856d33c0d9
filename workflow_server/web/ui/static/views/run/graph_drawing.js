// The drawing of a graph that was laid out: steps, events and lines.
import { html } from "../../lib.js";
import { headOf, pathOf, shortened } from "./graph_layout.js";

let context = null;

/** Return the width of a text in pixels. */
export function measure(text, size, weight) {
  context ??= document.createElement("canvas").getContext("2d");
  context.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return context.measureText(text).width;
}

/** The drawing. Each step is a button, where `onSelect` is there. */
export function Drawing({ layout, scale, name, states, seen, selected, onSelect, unknown }) {
  const { width, height, nodes, links } = layout;
  const kinds = new Map(nodes.map((node) => [node.id, node.kind]));
  const hasBegun = (id) => kinds.get(id) !== "step" || id in states;
  const wasSeen = ({ source, target, events }) => [...events, source, target].some((one) => seen.has(one));
  const wasTaken = (link) => states === null || (hasBegun(link.source) && hasBegun(link.target) && (seen === null || wasSeen(link)));
  const steps = nodes.filter((node) => node.kind === "step").length;
  const stateOf = ({ id }) => states && (states[id] ?? { kind: "idle", text: unknown });
  const isWaiting = Object.values(states ?? {}).some((state) => state.kind === "waiting");
  return html`<svg class="graph-drawing" role="group" aria-label=${`Graph of ${name}, ${steps === 1 ? "1 step" : `${steps} steps`}`}
    width=${width * scale} height=${height * scale} viewBox=${`0 0 ${width} ${height}`}>
    <g aria-hidden="true">${links.map((link) => html`
      <${Link} key=${`${link.source}>${link.target}`} link=${link} taken=${wasTaken(link)} />`)}</g>
    ${nodes.map((node) => (node.kind === "step"
      ? html`<${Step} key=${node.id} node=${node} state=${stateOf(node)} isSelected=${selected === node.id} onSelect=${onSelect} />`
      : html`<${Pill} key=${node.id} node=${node} isWaiting=${isWaiting} />`))}
  </svg>`;
}

function Link({ link, taken }) {
  const { events } = link;
  const labels = events.length > 3 ? [...events.slice(0, 2).map((event) => shortened(event)), `${events.length - 2} more`]
    : events.map((event) => shortened(event));
  return html`<g class=${taken ? "graph-link" : "graph-link faintly"}>
    <path d=${pathOf(link.points)} /><path class="graph-head" d=${headOf(link.points)} />
    ${labels.map((text, index) => html`
      <text key=${text} x=${link.x} y=${link.y + 4 + 15 * (index - (labels.length - 1) / 2)}>${text}</text>`)}
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
  const button = { role: "button", tabindex: 0, "aria-pressed": isSelected, onClick: () => onSelect(node.id), onKeyDown };
  return html`<g class="graph-step ${kind}" transform=${`translate(${x - width / 2} ${y - height / 2})`}
    aria-label=${text === null ? title : `${title}: ${text}`} ...${onSelect === null ? { role: "img" } : button}>
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
  const names = `graph-pill ${kind} ${kind === "person" && isWaiting ? "waiting" : ""}`;
  return html`<g class=${names} transform=${`translate(${x - width / 2} ${y - height / 2})`}>
    <title>${words ? `${title} (${words})` : title}</title>
    <rect width=${width} height=${height} rx=${height / 2} />
    ${isPerson && html`<path class="graph-glyph" d=${PERSON} transform="translate(10 6)" />`}
    <text x=${width / 2 + (isPerson ? 7 : 0)} y="17">${name}</text>
  </g>`;
}
