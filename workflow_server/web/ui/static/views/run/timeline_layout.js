// The rows of a timeline: executions in lanes by their step, concurrent ones side by side.

const TOGETHER = 3; // Milliseconds between what ends and what follows it, at most: both are noted one after the other.
const MOST_ROWS = 400; // A lane with more executions at once draws the others over its last row.
const MOST_HELD = 24; // A lane with more rows does not show for how long an attempt waits to be made again.

/**
 * Return { lanes, begin, end } of what a run did. A lane: { step, rows }; a row: items that do not overlap, by their
 * begin. An item: { kind, begin, end, execution, span }; its kind is an outcome, "wait" or "retry"; an end of null goes on.
 */
export function lanesOf({ executions, spans, marks, handler }) {
  const lanes = new Map();
  for (const item of itemsOf(executions, spans, handler)) {
    if (!lanes.has(item.step)) lanes.set(item.step, { step: item.step, rows: [], free: [] });
    place(lanes.get(item.step), item);
  }
  return { lanes: [...lanes.values()], ...extentOf(executions, spans, marks) };
}

function itemsOf(executions, spans, handler) {
  const items = executions.map((execution) => ({ ...about(execution), kind: execution.outcome, execution, span: null }));
  for (const span of spans) {
    if (span.kind !== "wait" && span.kind !== "retry") continue;
    const asked = span.step === null && span.end === null ? handler?.waiting_for?.[0] : null;
    const step = span.step ?? asked?.step ?? "";
    items.push({ ...about(span), step, event: span.event ?? asked?.event ?? null, kind: span.kind, execution: null, span });
  }
  // Where one ends as the next begins, the longer stays behind: its row is then known to be free.
  return items.sort((one, other) => one.begin - other.begin || (one.end ?? Infinity) - (other.end ?? Infinity));
}

const about = ({ step, begin, end, event }) => ({ step, begin, end, event });

/** Put an item into the row that became free last before it: what follows an attempt or a wait stands behind it. */
function place(lane, item) {
  if (item.kind === "retry" && lane.rows.length > MOST_HELD) return;
  let best = -1;
  for (let row = 0; row < lane.rows.length; row += 1) {
    const isLink = item.span !== null || lane.rows[row].at(-1).span !== null;
    const isFree = lane.free[row] <= item.begin + (isLink ? TOGETHER : 0);
    if (isFree && (best < 0 || lane.free[row] > lane.free[best])) best = row;
  }
  if (best < 0 && lane.rows.length < MOST_ROWS) {
    best = lane.rows.length;
    lane.rows.push([]);
  }
  if (best < 0) best = lane.rows.length - 1;
  lane.rows[best].push(item);
  lane.free[best] = item.end ?? Infinity;
}

/** Return when a run began and, once it has ended, when it did. */
function extentOf(executions, spans, marks) {
  const begins = [executions[0]?.begin, spans[0]?.begin, marks[0]?.time].filter((time) => time !== undefined);
  const last = marks.at(-1);
  const hasEnded = last !== undefined && ["completed", "failed", "cancelled", "timed_out"].includes(last.kind);
  return { begin: begins.length > 0 ? Math.min(...begins) : null, end: hasEnded ? last.time : null };
}

/** Return the place of the first item of a row that ends after a time. Its items are in order, and do not overlap. */
export function firstAfter(row, time) {
  let low = 0;
  let high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((row[middle].end ?? Infinity) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the height of a row and of the bar in it: many rows are thin. */
export function rowSize(rows) {
  if (rows <= 8) return { row: 20, bar: 14 };
  return rows <= 24 ? { row: 12, bar: 9 } : { row: 6, bar: 5 };
}

/** Return { lanes, height }: lanes with their place: top, height and the size of their rows; `foot` is left below them. */
export function placeLanes(lanes, foot) {
  let top = 0;
  const placed = lanes.map((lane) => {
    const size = rowSize(lane.rows.length);
    const height = Math.max(24, lane.rows.length * size.row + 4);
    const result = { ...lane, top, height, size };
    top += height;
    return result;
  });
  return { lanes: placed, height: top + foot };
}
