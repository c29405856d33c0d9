// A timeline on a canvas: which part of it is seen, and what lies under the pointer.
import { connection } from "../../store.js";
import { draw, readColours } from "./timeline_draw.js";
import { firstAfter } from "./timeline_layout.js";
import { pausesOf, scaleOf, ticksOf } from "./timeline_scale.js";

export const AXIS = 36; // Pixels of the axis on top.
const CLOSEST = 4; // Milliseconds that are seen at least.
const NEAR = 4; // Pixels by which a pointer may miss a bar.
const WORTH = 0.6; // Pauses are shortened by themselves where that makes the whole shorter than this part of it.

/**
 * Return what draws a timeline: `set(patch)` of { lanes, executions, spans, marks, begin, end, selection, shorten }, where
 * `shorten` is true, false, or null for what is best; `zoom(factor, x)`, `pan(pixels)`, `show(from, to)` for times, `fit()`,
 * `hit(x, y)` returns an item or null, `hover(item)`, `range(from, to)` marks pixels, `timeAt(x)`, and `stop()`.
 * `onView({ from, to, isZoomed, isShort, hasPauses })` is called when what is seen has changed.
 */
export function createChart(canvas, box, onView) {
  const context = canvas.getContext("2d");
  let data = { lanes: [], executions: [], spans: [], marks: [], begin: null, end: null, selection: null, shorten: null };
  let seen = null; // The times that are seen, null for all.
  let hovered = null;
  let range = null;
  let size = { width: 1, height: 1 };
  let colours = null;
  let frame = 0;
  let kept = { key: null, pauses: null };
  let told = "";
  let current = null;

  /** Return the scale from the beginning to now, and whether its pauses are shortened. */
  function scaleNow(now) {
    const begin = data.begin ?? now;
    const end = Math.max(data.end ?? now, begin + CLOSEST);
    if (kept.key !== data.executions || data.end === null) {
      kept = { key: data.executions, pauses: pausesOf(data.executions, begin, end) };
    }
    const shortened = scaleOf(begin, end, kept.pauses);
    const hasPauses = kept.pauses.pauses.length > 0;
    const isShort = hasPauses && (data.shorten ?? shortened.length < (end - begin) * WORTH);
    return { scale: isShort ? shortened : scaleOf(begin, end, { active: 1, pauses: [] }), isShort, hasPauses, begin, end };
  }

  function look() {
    const { state, since } = connection.get();
    // Without a server, what is seen is as of then.
    const now = Math.max(state === "lost" ? since : Date.now(), data.executions.at(-1)?.begin ?? 0);
    const base = scaleNow(now);
    const from = seen === null ? 0 : Math.max(0, base.scale.to(seen.from));
    const to = seen === null ? base.scale.length : Math.min(base.scale.length, base.scale.to(seen.to));
    const span = Math.max(to - from, 0.5);
    // A run that goes on keeps a little room at its end.
    const room = size.width - (data.end === null ? 10 : 6);
    const view = { from, to: from + span, perPixel: span / room, x: (place) => ((place - from) / span) * room };
    return { ...base, now: data.end ?? now, view };
  }

  function paint() {
    frame = 0;
    colours ??= readColours(box);
    current = look();
    const { scale, view, begin, isShort, hasPauses } = current;
    const ratio = devicePixelRatio;
    if (canvas.width !== Math.round(size.width * ratio) || canvas.height !== Math.round(size.height * ratio)) {
      canvas.width = Math.round(size.width * ratio);
      canvas.height = Math.round(size.height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const ticks = ticksOf(scale, begin, view);
    draw(context, { ...data, ...current, ...size, ticks, hovered, range, colours, axis: AXIS, scroll: box.scrollTop });
    const tells = { from: scale.from(view.from), to: scale.from(view.to), isZoomed: seen !== null, isShort, hasPauses };
    const key = `${Math.round(tells.from / 1000)} ${Math.round(tells.to / 1000)} ${tells.isZoomed} ${isShort} ${hasPauses}`;
    if (key !== told) onView(tells);
    told = key;
  }

  const invalidate = () => {
    if (frame === 0) frame = requestAnimationFrame(paint);
  };

  /** Show a part of the scale; all of it is shown as all, so that it grows with the run. */
  function showPlaces({ scale }, from, to) {
    const span = Math.min(scale.length, Math.max(to - from, Math.min(CLOSEST, scale.length)));
    const begin = Math.min(Math.max(0, from), scale.length - span);
    seen = span >= scale.length * 0.999 ? null : { from: scale.from(begin), to: scale.from(begin + span) };
    invalidate();
  }

  function zoom(factor, x = size.width / 2) {
    const now = look();
    const { from, to, perPixel } = now.view;
    const at = from + x * perPixel;
    showPlaces(now, at - (at - from) / factor, at + (to - at) / factor);
  }

  function hit(x, y) {
    if (current === null || y < AXIS) return null;
    const { scale, view, now } = current;
    const place = y - AXIS + box.scrollTop;
    const lane = data.lanes.find((one) => place >= one.top && place < one.top + one.height);
    const row = lane?.rows[Math.min(lane.rows.length - 1, Math.max(0, Math.floor((place - lane.top - 2) / lane.size.row)))];
    if (!row) return null;
    let best = null;
    for (let index = firstAfter(row, scale.from(view.from + (x - NEAR - 3) * view.perPixel)); index < row.length; index += 1) {
      const item = row[index];
      const from = view.x(scale.to(item.begin));
      const to = Math.max(from + 3, view.x(scale.to(item.end ?? now)));
      if (from > x + NEAR) break;
      const miss = Math.max(0, from - x, x - to);
      if (miss <= NEAR && (best === null || miss < best.miss)) best = { item, miss };
    }
    return best?.item ?? null;
  }

  const resized = new ResizeObserver(() => {
    size = { width: canvas.clientWidth, height: canvas.clientHeight };
    invalidate();
  });
  resized.observe(canvas);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => {
    colours = null;
    invalidate();
  };
  scheme.addEventListener("change", recolour);

  return {
    zoom,
    hit,
    invalidate,
    set(patch) {
      data = { ...data, ...patch };
      invalidate();
    },
    fit() {
      seen = null;
      invalidate();
    },
    pan(pixels) {
      const now = look();
      if (seen !== null) showPlaces(now, now.view.from + pixels * now.view.perPixel, now.view.to + pixels * now.view.perPixel);
    },
    show(from, to) {
      const now = look();
      showPlaces(now, now.scale.to(from), now.scale.to(to));
    },
    /** Bring a time into sight, with the same part seen as before. */
    reveal(time) {
      const now = look();
      const at = now.scale.to(time);
      const { from, to } = now.view;
      if (seen !== null && (at < from || at > to)) showPlaces(now, at - (to - from) / 2, at + (to - from) / 2);
    },
    hover(item) {
      if (item !== hovered) invalidate();
      hovered = item;
    },
    range(from, to) {
      range = from === null ? null : [from, to];
      invalidate();
    },
    timeAt: (x) => current.scale.from(current.view.from + x * current.view.perPixel),
    stop() {
      cancelAnimationFrame(frame);
      resized.disconnect();
      scheme.removeEventListener("change", recolour);
    },
  };
}
