// What pointers, wheels and keys do on a timeline.

const MOVED = 4; // Pixels from which a press is a drag.

/**
 * Attach a chart to its canvas: a click chooses, dragging with a mouse zooms, with Shift or a finger it moves, the wheel
 * zooms with Ctrl. `onChoose(item)` gets what was clicked, or null; `onHover(item, x, y)`. Returns how to end it.
 */
export function attach(canvas, chart, { onChoose, onHover }) {
  const controller = new AbortController();
  const on = (name, listener, more = {}) => canvas.addEventListener(name, listener, { signal: controller.signal, ...more });
  const placeOf = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  let press = null;

  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    const { x, y } = placeOf(event);
    press = { x, y, last: x, moved: false, pans: event.pointerType !== "mouse" || event.shiftKey };
    canvas.setPointerCapture(event.pointerId);
  });
  on("pointermove", (event) => {
    const { x, y } = placeOf(event);
    if (press === null) {
      const item = chart.hit(x, y);
      chart.hover(item);
      onHover(item, x, y);
      return;
    }
    press.moved ||= Math.abs(x - press.x) > MOVED;
    if (!press.moved) return;
    onHover(null);
    if (press.pans) chart.pan(press.last - x);
    else chart.range(press.x, x);
    press.last = x;
  });
  on("pointerup", (event) => {
    if (press === null) return;
    const { x, y } = placeOf(event);
    const { moved, pans, x: from } = press;
    press = null;
    chart.range(null);
    if (!moved) onChoose(chart.hit(x, y));
    else if (!pans) chart.show(chart.timeAt(Math.min(from, x)), chart.timeAt(Math.max(from, x)));
  });
  on("pointercancel", () => {
    press = null;
    chart.range(null);
  });
  on("pointerleave", () => {
    chart.hover(null);
    onHover(null);
  });
  on("wheel", (event) => wheel(event, chart, placeOf(event).x), { passive: false });
  return () => controller.abort();
}

function wheel(event, chart, x) {
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    chart.zoom(Math.exp(-event.deltaY / 250), x);
  } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    chart.pan(event.deltaX || event.deltaY);
  }
}

/** Return what a key on the timeline does, undefined for none; `move(way)` chooses another execution. */
export function keyAction(event, chart, { move, leave }) {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  if (event.shiftKey && event.key === "ArrowLeft") return () => chart.pan(-80);
  if (event.shiftKey && event.key === "ArrowRight") return () => chart.pan(80);
  const actions = {
    "+": () => chart.zoom(1.5), "=": () => chart.zoom(1.5), "-": () => chart.zoom(1 / 1.5), 0: () => chart.fit(), Escape: leave,
    ArrowLeft: () => move("before"), ArrowRight: () => move("after"), ArrowUp: () => move("above"), ArrowDown: () => move("below"),
    Home: () => move("first"), End: () => move("last"),
  };
  return actions[event.key];
}

/** Return the execution that is next to another in a direction: in time, or in the lane above or below. */
export function neighbour(way, executions, lanes, chosen) {
  if (executions.length === 0) return null;
  const index = executions.findIndex((one) => one.id === chosen);
  if (way === "first" || (index < 0 && way !== "last")) return executions[0];
  if (way === "last") return executions.at(-1);
  if (way === "before") return executions[Math.max(0, index - 1)];
  if (way === "after") return executions[Math.min(executions.length - 1, index + 1)];
  const execution = executions[index];
  const place = lanes.findIndex((lane) => lane.step === execution.step) + (way === "above" ? -1 : 1);
  const items = (lanes[place]?.rows ?? []).flat().filter((item) => item.execution !== null);
  const near = (item) => Math.abs(item.begin - execution.begin);
  return items.reduce((best, item) => (best === null || near(item) < near(best) ? item : best), null)?.execution ?? execution;
}
