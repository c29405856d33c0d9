// A form of a JSON schema, and the same value as JSON: two sides of one form.
import { Copy } from "../components/basics.js";
import { count } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib.js";
import { ObjectFields } from "./composites.js";
import { errorsAt, FormContext } from "./context.js";
import { isObject, writeExact } from "./exact_json.js";
import { Errors } from "./frame.js";
import { JsonInput } from "./inputs.js";
import { initial, resolve } from "./schema.js";

const LARGEST = 1_000_000; // Characters of JSON beyond which a text area takes seconds.

/** Return the value that a form of this schema begins with. */
export const initialValue = (schema, prefilled = {}) => ({ ...(initial(schema, schema) ?? {}), ...prefilled });

/**
 * A form of the fields of an event. `value` is JSON (numbers may be ExactNumber), `errors` are the server's: `{ path, message }`.
 * Fields in `prefilled` are shown and stay as they are. `onProblem(text)` tells what is not JSON yet, null where nothing is;
 * `isChecked` shows which required fields are missing. Events take fields that their schema does not name: where it names none,
 * the form adds them, elsewhere JSON does. `compact`: the choice of the side comes last.
 */
export function SchemaForm({
  schema, value, onChange, errors = [], prefilled = {}, onProblem, isChecked = false, label = "Fields", compact = false,
}) {
  const [side, setSide] = useState("form");
  const box = useRef(null);
  const problems = useRef(new Map());
  const [problem, setProblem] = useState(null);
  const report = (id, text) => {
    if (text === null) problems.current.delete(id);
    else problems.current.set(id, text);
    const [first = null] = problems.current.values();
    setProblem(first);
    onProblem?.(first);
  };
  const standing = useStanding(errors, value);
  const context = useMemo(() => ({ root: schema, errors: standing, report, isChecked }), [schema, standing, isChecked]);
  useEffect(() => {
    if (errors.length > 0) focusFirst(box.current);
  }, [errors]);
  const change = (next) => onChange({ ...next, ...prefilled });
  const whole = resolve(schema, schema);
  const canDraw = isObject(value);
  const sides = html`<${Sides} ...${{ side: canDraw ? side : "json", setSide, problem, label }} />`;
  return html`<${FormContext.Provider} value=${context}><div class="schema-form" ref=${box}>
    ${!compact && sides}
    ${side === "json" || !canDraw
      ? html`<${JsonSide} ...${{ value, errors: standing, label, onChange: (next) => (isObject(next) ? change(next) : onChange(next)) }} />`
      : html`<${Fixed} fields=${prefilled} />
        <${Errors} errors=${errorsAt(standing, [], [...Object.keys(whole.properties ?? {}), ...Object.keys(value)])} />
        <${ObjectFields} value=${value} onChange=${change} path=${[]} schema=${whole} fixed=${prefilled} label=${label}
          isOpen=${Object.keys(whole.properties ?? {}).length === 0} />`}
    ${compact && sides}
  </div></${FormContext.Provider}>`;
}

/** Focus the first field that is not valid: of a choice, what can be chosen. */
export function focusFirst(element) {
  const invalid = element.querySelector("[aria-invalid=true]");
  (invalid?.matches("div") ? invalid.querySelector("input") : invalid)?.focus();
}

/** Return those of the server's messages whose value has not been changed since. */
function useStanding(errors, value) {
  const judged = useRef({ errors: null, value: null });
  if (judged.current.errors !== errors) judged.current = { errors, value };
  const at = (whole, path) => path.reduce((part, key) => part?.[key], whole);
  const standing = errors.filter(({ path }) => at(judged.current.value, path) === at(value, path));
  const kept = useRef(standing);
  if (kept.current.length !== standing.length || kept.current.some((error, index) => error !== standing[index])) kept.current = standing;
  return kept.current;
}

/** Which side is seen. What is not JSON yet has no form: the text stays until it is. */
function Sides({ side, setSide, problem, label }) {
  const sides = [["form", "Form"], ["json", "JSON"]];
  return html`<div class="sides" role="group" aria-label=${`${label} as`}>
    ${sides.map(([key, name]) => {
      const isBarred = problem !== null && side !== key;
      return html`<button type="button" key=${key} aria-pressed=${side === key} disabled=${isBarred}
        title=${isBarred ? "First mend the JSON" : undefined} onClick=${() => setSide(key)}>${name}</button>`;
    })}
  </div>`;
}

function JsonSide({ value, onChange, errors, label }) {
  const shown = errorsAt(errors, []);
  const size = useMemo(() => writeExact(value).length, []);
  if (size > LARGEST) {
    return html`<p class="field-hint">This JSON has ${count(size, "character")}, too many to be edited here.
      <${Copy} text=${() => writeExact(value, 2)}>Copy it</${Copy}></p>`;
  }
  return html`<${JsonInput} id="json-side" rows=${8} value=${value} onChange=${(next) => onChange(next ?? {})}
      attributes=${{ "aria-label": `${label} as JSON`, "aria-invalid": shown.length > 0 ? "true" : undefined }} />
    <${Errors} errors=${shown} />`;
}

/** Fields whose values are given. */
function Fixed({ fields }) {
  const names = Object.keys(fields);
  return names.length > 0 && html`<dl class="field-fixed">${names.map((name) => html`<div key=${name}><dt><bdi>${name}</bdi></dt>
    <dd class="mono"><bdi>${typeof fields[name] === "string" ? fields[name] : writeExact(fields[name])}</bdi></dd></div>`)}</dl>`;
}
