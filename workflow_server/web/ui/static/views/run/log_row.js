// A row of the log: an event, or a mark of what else happened.
import { preview } from "../../components/json_tree.js";
import { parseExact } from "../../forms/exact_json.js";
import { duration, exact, shortName, visible } from "../../format.js";
import { html } from "../../lib.js";
import { isWhole } from "./events.js";
import { Sentence, toneOf, wordOf } from "./sentences.js";

const LONGEST = 320; // Characters of a payload in its row.
const BEFORE = 40; // Characters before the text that was searched for.
const STATES = { preparing: "waits for a free worker", running: "runs", not_running: "was left" };

/** Return what an internal event says of a step. */
function stepLine({ name, step_state: state, worker_id: worker, input_event_name: input, output_event_name: output }) {
  const className = (text) => shortName(String(text).replace(/^<class '(.*)'>$/, "$1"));
  const parts = [`${name} ${STATES[state] ?? state}`, input && `with ${className(input)}`, output && `returned ${className(output)}`];
  if (state !== "preparing" && worker) parts.push(`worker ${worker}`);
  return parts.filter(Boolean).join(", ");
}

/** Return the payload of an event in one line. */
function payloadLine(event) {
  if (!isWhole(event)) return `${event.text.slice(0, LONGEST)}…`;
  try {
    const value = parseExact(event.text);
    if (event.kind.internal && event.kind.type === "StepStateChanged") return stepLine(value);
    return value !== null && typeof value === "object" && Object.keys(value).length === 0 ? "" : preview(value, LONGEST);
  } catch {
    return event.text.slice(0, LONGEST);
  }
}

/** Return the payload's text around what was searched for. */
function payloadAround(event, find) {
  const found = find.exec(event.text);
  if (found === null) return payloadLine(event);
  const from = found.index > LONGEST - 80 ? found.index - BEFORE : 0;
  return `${from > 0 ? "…" : ""}${event.text.slice(from, from + LONGEST)}`;
}

/** A text in which what was searched for is marked. */
export function Marked({ text, find }) {
  if (find === null) return html`<bdi>${visible(text)}</bdi>`;
  const parts = [];
  const all = new RegExp(find.source, "gi");
  let from = 0;
  for (let found = all.exec(text); found !== null && parts.length < 40; found = all.exec(text)) {
    if (found[0] === "") break;
    parts.push(visible(text.slice(from, found.index)), html`<mark>${visible(found[0])}</mark>`);
    from = found.index + found[0].length;
  }
  return html`<bdi>${parts}${visible(text.slice(from))}</bdi>`;
}

function Cells({ ms, base }) {
  if (ms === null) return html`<span class="faint">–</span><span></span>`;
  return html`<span class="num soft" title=${new Date(ms).toString()}>${exact(ms)}</span>
    <span class="num faint">${base !== null && `+${duration((ms - base) / 1000)}`}</span>`;
}

/** An option of the listbox. `name` holds what is true of it: selected, near, active. */
export function Row({ row, id, base, find, selected, name, context, onClick }) {
  const { event, mark } = row;
  const own = event ? "log-row" : "log-row log-mark";
  const tone = event ? event.kind.tone : toneOf(mark.entry);
  return html`<div class="${own} ${name}" id=${id} role="option" aria-selected=${selected} onClick=${onClick}>
    <${Cells} ms=${(event ?? mark).ms} base=${base} />
    ${event
      ? html`<b class="tone ${tone} ${event.kind.internal ? "internal" : ""}" title=${event.kind.qualified ?? event.kind.type}>
          <${Marked} text=${event.kind.type} find=${find} /></b>
        <span class="mono payload">
          <${Marked} text=${find === null ? payloadLine(event) : payloadAround(event, find)} find=${find} /></span>`
      : html`<b class="tone ${tone}">${wordOf(mark.entry)}</b>
        <span class="payload"><${Sentence} entry=${mark.entry} context=${context(mark.entry)} /></span>`}
  </div>`;
}
