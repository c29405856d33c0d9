// The drawing of a timeline on a canvas: only what is in sight, and what lies within one pixel once.
import { duration } from "../../format.js";
import { PAINT, hatch, label, line, outline } from "./timeline_bars.js";
import { firstAfter } from "./timeline_layout.js";

const NARROWEST = 3; // Pixels of the shortest bar.
const NAMES = ["panel", "sunken", "line", "line-strong", "ink", "soft", "faint", "accent", "accent-soft", "running", "done", "failed",
  "waiting", "idle", "running-soft", "done-soft", "failed-soft", "waiting-soft"];

/** Return the colours of the page as they are now, light or dark. */
export function readColours(element) {
  const style = getComputedStyle(element);
  return { font: style.fontFamily, ...Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()])) };
}

/**
 * Draw a scene: { lanes, spans, marks, scale, ticks, view, now, selection, hovered, colours, width, height, axis, scroll }.
 * `view` has x(place), from and to; lanes have their places; `axis` is the height of the axis on top.
 */
export function draw(context, scene) {
  const { width, height, axis, scroll, colours } = scene;
  context.clearRect(0, 0, width, height);
  context.textBaseline = "middle";
  context.save();
  context.beginPath();
  context.rect(0, axis, width, height - axis);
  context.clip();
  drawGrid(context, scene);
  drawMarks(context, scene);
  for (const lane of scene.lanes) {
    const top = axis + lane.top - scroll;
    if (top > height || top + lane.height < axis) continue;
    drawLane(context, scene, lane, top);
  }
  drawBands(context, scene, true);
  context.restore();
  drawAxis(context, scene, colours);
  drawRange(context, scene);
}

function drawGrid(context, { lanes, ticks, width, height, axis, scroll, colours, selection, spans, ...scene }) {
  const chosen = lanes.find((lane) => lane.step === selection?.step);
  if (chosen) {
    context.fillStyle = colours["accent-soft"];
    context.fillRect(0, axis + chosen.top - scroll, width, chosen.height);
  }
  drawBands(context, { ...scene, spans, height, axis, colours, width }, false);
  context.fillStyle = colours.line;
  for (const tick of ticks) if (tick.pause === undefined) context.fillRect(Math.round(tick.x), axis, 1, height);
  for (const lane of lanes) context.fillRect(0, Math.round(axis + lane.top + lane.height - scroll), width, 1);
  for (const tick of ticks) if (tick.pause !== undefined) drawBreak(context, tick, axis, height, colours);
}

/** A pause that is shortened: two dashed lines. */
function drawBreak(context, { x, width }, axis, height, colours) {
  context.strokeStyle = colours["line-strong"];
  context.setLineDash([2, 3]);
  for (const at of [x, x + width]) line(context, Math.round(at) + 0.5, axis, Math.round(at) + 0.5, height);
  context.setLineDash([]);
}

/** Kinds of times in which nothing could run. */
export const BANDS = { down: "server down", released: "out of memory", suspended: "suspended" };

/** Those times behind the bars, their names in front of them. */
function drawBands(context, scene, isName) {
  const { spans, view, scale, now, height, axis, colours, width } = scene;
  for (const span of spans) {
    if (!(span.kind in BANDS)) continue;
    const from = Math.max(-2, view.x(scale.to(span.begin)));
    const to = Math.min(width + 2, view.x(scale.to(span.end ?? now)));
    if (to < 0 || from > width || to - from < 1) continue;
    if (!isName) {
      context.fillStyle = colours.sunken;
      context.fillRect(from, axis, to - from, height);
      if (span.kind === "down") hatch(context, from, axis, to - from, height - axis, colours["line-strong"], 7);
    } else if (to - from > 74) {
      label(context, BANDS[span.kind], from + 6, height - 9, colours.soft, colours);
    }
  }
}

function drawLane(context, scene, lane, top) {
  const { row: rowHeight, bar } = lane.size;
  const visible = { from: scene.scale.from(scene.view.from), to: scene.scale.from(scene.view.to) };
  lane.rows.forEach((row, index) => {
    const y = top + 2 + index * rowHeight + (rowHeight - bar) / 2;
    if (y > scene.height || y + bar < scene.axis) return;
    drawRow(context, scene, row, y, bar, visible);
  });
}

function drawRow(context, scene, row, y, bar, visible) {
  const { view, scale, now, selection, hovered, colours, width } = scene;
  let open = null; // Neighbours of one kind without a visible gap are drawn as one bar.
  let chosen = null;
  const flush = () => {
    if (open === null) return;
    const from = Math.max(-4, open.from);
    PAINT[open.item.kind](context, from, y, Math.min(width + 4, open.to) - from, bar, colours, open.item);
    open = null;
  };
  for (let index = firstAfter(row, visible.from); index < row.length; index += 1) {
    const item = row[index];
    if (item.begin > visible.to) break;
    const from = view.x(scale.to(item.begin));
    const to = Math.max(from + (item.kind === "retry" ? 0 : NARROWEST), view.x(scale.to(item.end ?? now)));
    if (open !== null && open.item.kind === item.kind && from <= open.to + 0.7 && Math.min(to - from, open.last) < 8) {
      open.to = Math.max(open.to, to);
      open.last = to - from;
    } else {
      flush();
      open = { from, to, last: to - from, item };
    }
    const isChosen = item.execution !== null && item.execution.id === selection?.execution;
    if (isChosen || (item === hovered && chosen === null)) chosen = { from: Math.max(-4, from), to: Math.min(width + 4, to), isChosen };
  }
  flush();
  if (chosen) outline(context, chosen.from, y, chosen.to - chosen.from, bar, chosen.isChosen ? colours.accent : colours.ink);
}

const SIGNS = {
  resumed: "▲", retried: "↻", cancel_requested: "✕", failed: "✕", timed_out: "✕", cancelled: "✕", completed: "✓",
};
const MARKED = { resumed: "soft", retried: "accent", failed: "failed", timed_out: "failed", completed: "done" };

/** Lines at the moments that concern the whole run, their signs in the axis. */
function drawMarks(context, { marks, view, scale, axis, height, width, colours, selection }) {
  for (const mark of marks) {
    const x = view.x(scale.to(mark.time));
    if (!(mark.kind in SIGNS) || x < 0 || x > width) continue;
    context.strokeStyle = colours[MARKED[mark.kind] ?? "soft"];
    context.setLineDash(mark.kind === "resumed" ? [4, 3] : []);
    line(context, Math.round(x) + 0.5, axis, Math.round(x) + 0.5, height);
    context.setLineDash([]);
  }
  if (selection?.time === null || selection?.time === undefined) return;
  const x = view.x(scale.to(selection.time));
  context.strokeStyle = colours.accent;
  line(context, Math.round(x) + 0.5, axis, Math.round(x) + 0.5, height);
}

function drawAxis(context, { ticks, marks, view, scale, axis, width }, colours) {
  context.fillStyle = colours.panel;
  context.fillRect(0, 0, width, axis);
  context.fillStyle = colours.line;
  context.fillRect(0, axis - 1, width, 1);
  for (const tick of ticks) {
    if (tick.pause !== undefined) drawPause(context, tick, colours);
    else if (tick.x + widthOf(context, tick.text, colours) + 4 < width) label(context, tick.text, tick.x + 3, 10, colours.faint, colours);
  }
  let free = -Infinity;
  for (const mark of marks) {
    const x = view.x(scale.to(mark.time));
    if (!(mark.kind in SIGNS) || x < -5 || x > width + 5) continue;
    const [sign, word] = [SIGNS[mark.kind], `${SIGNS[mark.kind]} ${mark.kind.replace("_", " ")}`];
    const size = widthOf(context, word, colours);
    const at = Math.min(x - 5, width - size - 2);
    const text = at >= free ? word : sign;
    label(context, text, text === word ? at : Math.min(x - 5, width - 11), axis - 10, colours[MARKED[mark.kind] ?? "soft"], colours);
    free = Math.max(free, (text === word ? at + size : x + 6) + 8);
  }
}

function widthOf(context, text, colours) {
  context.font = `11px ${colours.font}`;
  return context.measureText(text).width;
}

/** How long a shortened pause was: in words where there is room. */
function drawPause(context, { x, width, pause }, colours) {
  for (const text of [`pause of ${duration(pause / 1000)}`, duration(pause / 1000)]) {
    const size = widthOf(context, text, colours);
    if (width < size + 6) continue;
    label(context, text, x + (width - size) / 2, 10, colours.soft, colours);
    return;
  }
}

/** What is being chosen by dragging. */
function drawRange(context, { range, axis, height, colours }) {
  if (!range) return;
  const [from, to] = [Math.min(...range), Math.max(...range)];
  context.globalAlpha = 0.18;
  context.fillStyle = colours.accent;
  context.fillRect(from, axis, to - from, height - axis);
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.strokeRect(from + 0.5, axis + 0.5, to - from, height - axis - 1);
}
