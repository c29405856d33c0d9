// A line of an event stream, read without parsing its payload: what a row shows of it, and the payload's text.

const VALUE = '{"value":';
const LONGEST_TAIL = 4_000; // Characters that the keys behind the payload have at most; longer lines are parsed.
const TEXT = String.raw`"(?:[^"\\]|\\.)*"`;
const TAIL = new RegExp(
  String.raw`,"type":(${TEXT}),"types":(null|\[[^\]]*\])(?:,"qualified_name":(null|${TEXT}))?,"time":(null|"[^"]*"),"sequence":(\d+)\}$`,
);

/** Return a text that does not keep alive the longer one that it was cut from. */
export const detached = (text) => (" " + text).slice(1);

/** Return milliseconds with microseconds behind the point; null for null. */
function timeOf(iso) {
  if (iso === null) return null;
  const micros = /\.\d{3}(\d{3})/.exec(iso);
  return Date.parse(iso) + (micros === null ? 0 : Number(micros[1]) / 1000);
}

/** Return { sequence, ms, text, about }: the payload as JSON, and what tells types of events apart, as a text. */
export function readLine(line) {
  const begin = line.indexOf("{"); // Heartbeats are spaces before it.
  const from = Math.max(begin, line.length - LONGEST_TAIL);
  const found = line.startsWith(VALUE, begin) ? TAIL.exec(line.slice(from)) : null;
  if (found === null) return parseLine(line);
  const [tail, type, types, qualified = "null", time, sequence] = found;
  return {
    sequence: Number(sequence),
    ms: timeOf(time === "null" ? null : time.slice(1, -1)),
    text: line.slice(begin + VALUE.length, line.length - tail.length),
    about: `[${type},${types},${qualified}]`,
  };
}

function parseLine(line) {
  const { value, type, types = null, qualified_name: qualified = null, time = null, sequence } = JSON.parse(line);
  return { sequence, ms: timeOf(time), text: JSON.stringify(value), about: JSON.stringify([type, types, qualified]) };
}

/** Return what tells a type of event apart: { type, types, qualified, internal, tone, count }. */
export function kindOf(about) {
  const [type, types, qualified] = JSON.parse(about);
  const all = [type, ...(types ?? [])];
  return {
    type,
    types,
    qualified,
    internal: all.includes("InternalDispatchEvent") && type !== "UnhandledEvent",
    isEnd: all.includes("StopEvent"),
    tone: toneOf(all),
    count: 0,
  };
}

/** Return the colour of a type: that of the state in which it puts the run. */
function toneOf(all) {
  if (all.includes("WorkflowFailedEvent") || all.includes("WorkflowTimedOutEvent")) return "failed";
  if (all.includes("WorkflowCancelledEvent")) return "cancelled";
  if (all.includes("StopEvent")) return "completed";
  if (all.includes("InputRequiredEvent")) return "waiting";
  return "";
}

/** Return the event as the stream has it. */
export function lineOf(event, text = event.text) {
  const { type, types, qualified } = event.kind;
  const about = `"type":${JSON.stringify(type)},"types":${JSON.stringify(types)},"qualified_name":${JSON.stringify(qualified)}`;
  return `{"value":${text},${about},"time":${JSON.stringify(isoOf(event.ms))},"sequence":${event.sequence}}`;
}

function isoOf(ms) {
  if (ms === null) return null;
  const whole = Math.floor(ms);
  return `${new Date(whole).toISOString().slice(0, -1)}${String(Math.round((ms - whole) * 1000)).padStart(3, "0")}+00:00`;
}
