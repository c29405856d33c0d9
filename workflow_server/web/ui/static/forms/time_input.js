// The inputs of dates and times: the browser's own, as long as they can show the value.
import { html, useState } from "../lib.js";

const WHOLE = {
  date: /^\d{4}-\d\d-\d\d$/,
  time: /^\d\d:\d\d(:\d\d)?$/,
  "date-time": /^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(Z|[+-]\d\d:?\d\d)?$/,
};

/** The offset of this browser at a local time: "+02:00". */
function localOffset(local) {
  const minutes = -new Date(local).getTimezoneOffset();
  const pad = (number) => String(Math.floor(number)).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${pad(Math.abs(minutes) / 60)}:${pad(Math.abs(minutes) % 60)}`;
}

/** A date, a time or both. A value that the browser's own field cannot show is edited as text. */
export function TimeInput({ id, value, onChange, shape, label, attributes, unset }) {
  const { kind } = shape;
  const text = value === undefined || value === null ? "" : String(value);
  const change = (typed) => onChange(typed === "" ? unset : typed);
  // What is edited as text stays so: it would change under the fingers.
  const [isText, setText] = useState(text !== "" && !WHOLE[kind].test(text));
  if (!isText && text !== "" && !WHOLE[kind].test(text)) setText(true);
  if (kind === "date-time" && !isText) return html`<${DateTime} ...${{ id, text, change, label, attributes }} />`;
  return html`<input id=${id} class="field-number" type=${isText ? "text" : kind} step=${kind === "time" ? 1 : undefined} value=${text}
    onInput=${(event) => change(event.target.value)} ...${attributes} />`;
}

function DateTime({ id, text, change, label, attributes }) {
  const [, local = "", zone = ""] = WHOLE["date-time"].exec(text) ?? [];
  const [chosen, setChosen] = useState("local");
  const current = text === "" ? chosen : zone;
  const offset = (time) => (current === "local" ? localOffset(time) : current);
  const own = localOffset(local || Date.now());
  const zones = new Map([["", "no time zone"], ["Z", "UTC"], [text === "" ? "local" : own, `here, UTC${own}`]]);
  if (!zones.has(current)) zones.set(current, `UTC${current}`);
  return html`<span class="field-time">
    <input id=${id} type="datetime-local" step="1" value=${local.replace(" ", "T")} ...${attributes}
      onInput=${(event) => change(event.target.value && event.target.value + offset(event.target.value))} />
    <select aria-label=${`Time zone of ${label}`} value=${current}
      onChange=${(event) => (text === "" ? setChosen(event.target.value) : change(local + event.target.value))}>
      ${[...zones].map(([key, name]) => html`<option key=${key} value=${key}>${name}</option>`)}
    </select></span>`;
}
