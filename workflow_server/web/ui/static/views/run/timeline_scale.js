// The axis of a timeline: times to places, long pauses shortened, and ticks.
import { duration, exact } from "../../format.js";

const LONG = 0.15; // A pause longer than this part of all activity is shortened,
const SHORTENED = 0.12; // to this part of it;
const OPEN = 0.35; // one that goes on to this: what is waited for now has to be readable.

/**
 * Return pauses: the times without an execution between `begin` and `end` that are long beside all activity, as
 * { begin, end, isOpen }. Executions are in the order of their begin.
 */
export function pausesOf(executions, begin, end) {
  const pauses = [];
  let active = 0;
  let until = begin;
  for (const execution of executions) {
    const last = execution.end ?? end;
    if (execution.begin > until) pauses.push({ begin: until, end: execution.begin });
    if (last > until) {
      active += last - Math.max(until, execution.begin);
      until = last;
    }
  }
  if (end > until) pauses.push({ begin: until, end, isOpen: true });
  const least = Math.max(5, active * LONG);
  return { active: Math.max(1, active), pauses: pauses.filter((pause) => pause.end - pause.begin > least) };
}

/**
 * Return a scale of the times from `begin` to `end`: { length, to(time), from(place), segments }. Places are
 * milliseconds, in which each of the pauses takes little. Segments: { begin, end, from, to, isPause }.
 */
export function scaleOf(begin, end, { active, pauses }) {
  const each = active * Math.min(SHORTENED, 1.2 / Math.max(1, pauses.length));
  const segments = [];
  let time = begin;
  let place = 0;
  const add = (until, length, isPause) => {
    segments.push({ begin: time, end: until, from: place, to: place + length, isPause });
    time = until;
    place += length;
  };
  for (const pause of pauses) {
    if (pause.begin > time) add(pause.begin, pause.begin - time, false);
    add(pause.end, pause.isOpen ? active * OPEN : each, true);
  }
  if (end > time || segments.length === 0) add(Math.max(end, time + 1), Math.max(1, end - time), false);
  const find = (value, key) => {
    let low = 0;
    let high = segments.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (segments[middle][key] < value) low = middle + 1;
      else high = middle;
    }
    return segments[low];
  };
  return {
    segments,
    length: place,
    to(value) {
      const { begin: b, end: e, from, to } = find(value, "end");
      return from + ((value - b) / (e - b)) * (to - from);
    },
    from(value) {
      const { begin: b, end: e, from, to } = find(value, "to");
      return b + ((value - from) / (to - from)) * (e - b);
    },
  };
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 20 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE,
  5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY,
  30 * DAY, 90 * DAY, 365 * DAY,
];
const APART = 78; // Pixels between ticks, at least.

/**
 * Return ticks of the part of a scale that is seen: { x, text } for a time, since `origin`, and { x, width, pause } for
 * a pause, in milliseconds. `x(place)` is where a place of the scale is drawn, `perPixel` how much of it a pixel has.
 */
export function ticksOf(scale, origin, { from, to, x, perPixel }) {
  const step = STEPS.find((one) => one / perPixel >= APART) ?? STEPS.at(-1);
  const ticks = [];
  let last = -Infinity;
  for (const segment of scale.segments) {
    if (segment.to < from || segment.from > to) continue;
    if (segment.isPause) {
      // The length of the pause is written here, not the time of a tick right before it.
      if (ticks.length > 0 && ticks.at(-1).text && x(segment.from) - ticks.at(-1).x < APART * 0.7) ticks.at(-1).text = "";
      ticks.push({ x: x(segment.from), width: x(segment.to) - x(segment.from), pause: segment.end - segment.begin });
      last = Math.max(last, x(segment.to) - APART / 2);
      continue;
    }
    const begin = Math.max(segment.begin, scale.from(Math.max(from, segment.from)));
    const end = Math.min(segment.end, scale.from(Math.min(to, segment.to)));
    // Far from the beginning, the time since then does not tell near ticks apart: the time of day does.
    const zero = isTold(end - origin, step) ? origin : 0;
    for (let time = zero + Math.ceil((begin - zero) / step) * step; time <= end; time += step) {
      const at = x(scale.to(time));
      if (at - last < APART * 0.9) continue;
      ticks.push({ x: at, text: zero === 0 ? exact(time) : sinceOf(time - origin) });
      last = at;
    }
  }
  return ticks;
}

/** Return whether times since the beginning, as they are written, tell ticks apart. */
const isTold = (since, step) =>
  !((step < SECOND && since >= 10 * SECOND) || (step < MINUTE && since >= HOUR) || (step < HOUR && since >= DAY));

const sinceOf = (milliseconds) => (Math.abs(milliseconds) < 0.5 ? "0" : duration(milliseconds / 1000));
