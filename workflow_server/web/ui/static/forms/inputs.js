// The inputs of values that have no parts. Each gets { id, value, onChange, shape, label, attributes, unset, required }.
import { html, useEffect, useRef, useState } from "../lib.js";
import { useForm } from "./context.js";
import { exactNumber, parseExact, sameJson, writeExact } from "./exact_json.js";

/** A number by its text: what is no number yet is a text, and the server says more. */
export function NumberInput({ id, value, onChange, shape, attributes, unset }) {
  const text = value === undefined || value === null ? "" : String(value);
  const change = (event) => {
    const typed = event.target.value.trim();
    if (typed === "") onChange(unset);
    else onChange(shape.kind === "decimal" ? typed : exactNumber(typed) ?? typed);
  };
  return html`<input id=${id} class="num field-number" type="text" inputmode=${shape.schema.type === "integer" ? "numeric" : "decimal"}
    autocomplete="off" value=${text} onInput=${change} ...${attributes} />`;
}

/** Yes or no, and nothing chosen where nothing is known: nobody approves by accident. */
export function BooleanInput({ id, value, onChange, label, attributes, unset, canLeaveOut }) {
  const options = [[true, "Yes"], [false, "No"], ...(canLeaveOut ? [[unset, "Not set"]] : [])];
  const { "aria-required": isRequired, ...rest } = attributes;
  return html`<div class="field-choice" role="radiogroup" aria-label=${label} aria-required=${isRequired} ...${rest}>
    ${options.map(([option, word], index) => html`<label key=${word}><input type="radio" id=${index === 0 ? id : undefined} name=${id}
      checked=${(value ?? unset) === option} onChange=${() => onChange(option)} />${word}</label>`)}
  </div>`;
}

export function EnumInput({ id, value, onChange, shape, attributes, unset, required, canLeaveOut }) {
  const options = shape.schema.enum;
  const index = options.findIndex((option) => sameJson(option, value));
  const isStrange = index < 0 && value !== undefined && value !== null;
  const change = (event) => {
    const chosen = Number(event.target.value);
    if (chosen !== -2) onChange(chosen < 0 ? unset : options[chosen]);
  };
  return html`<select id=${id} value=${isStrange ? -2 : index} onChange=${change} ...${attributes}>
    ${(canLeaveOut || index < 0) && html`<option value=${-1}>${required ? "Choose…" : "not set"}</option>`}
    ${isStrange && html`<option value=${-2}>${writeExact(value)}</option>`}
    ${options.map((option, place) => html`<option key=${place} value=${place}>
      ${typeof option === "string" ? option : writeExact(option)}</option>`)}
  </select>`;
}

/** The only value that a field can have. */
export function ConstInput({ id, value, onChange, shape, attributes, unset, canLeaveOut }) {
  const only = shape.schema.const ?? null;
  if (sameJson(value ?? null, only) && !canLeaveOut) return html`<output id=${id} class="mono">${String(only)}</output>`;
  return html`<${EnumInput} ...${{ id, value, onChange, attributes, unset, canLeaveOut }} shape=${{ schema: { enum: [only] } }} />`;
}

/** JSON as text. What is not JSON yet stays here, and is reported to the form. */
export function JsonInput({ id, value, onChange, attributes, unset, rows = 3 }) {
  const { report } = useForm();
  const write = () => (value === undefined ? "" : writeExact(value, 2));
  const [text, setText] = useState(write);
  const [problem, setProblem] = useState(null);
  const emitted = useRef(value);
  useEffect(() => {
    if (emitted.current === value) return;
    emitted.current = value;
    setText(write());
    setProblem(null);
  }, [value]);
  useEffect(() => report(id, problem), [problem]);
  useEffect(() => () => report(id, null), []);
  const change = (event) => {
    setText(event.target.value);
    try {
      const parsed = event.target.value.trim() === "" ? unset : parseExact(event.target.value);
      setProblem(null);
      emitted.current = parsed;
      onChange(parsed);
    } catch (error) {
      setProblem(error.message);
    }
  };
  const most = Math.max(rows, Math.min(20, text.slice(0, 5000).split("\n").length));
  return html`<textarea id=${id} class="mono" rows=${most} value=${text} spellcheck=${false} placeholder="JSON" ...${attributes}
      aria-invalid=${problem ? "true" : attributes?.["aria-invalid"]} aria-errormessage=${problem ? `${id}-json` : undefined}
      onInput=${change}></textarea>
    ${problem && html`<p class="field-error" id=${`${id}-json`} role="status">${problem}</p>`}`;
}
