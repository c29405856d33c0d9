// A form for an event of a workflow: which type, and its fields.
import { html } from "../lib.js";
import { initialValue, SchemaForm } from "./schema_form.js";

/** Return the first value of an event of this type. */
export const newEvent = (schema, prefilled = {}) => ({ type: schema?.title ?? "", fields: initialValue(schema ?? {}, prefilled) });

/**
 * Choose an event and fill it in. `schemas` are those of the events that can be chosen, by their titles; `value` is
 * `{ type, fields }`. `label` names the choice.
 */
export function EventForm({ schemas, value, onChange, errors, onProblem, isChecked, label = "Event" }) {
  const schema = schemas.find((one) => one.title === value.type) ?? {};
  const choose = (event) => onChange(newEvent(schemas.find((one) => one.title === event.target.value)));
  const options = schemas.map(({ title }) => html`<option key=${title} value=${title}>${title}</option>`);
  return html`<div class="field"><div class="field-head"><label for="event-type">${label}</label></div>
      <select id="event-type" value=${value.type} onChange=${choose}>${options}</select>
      ${schema.description && html`<p class="field-hint"><bdi>${schema.description.split("\n\n")[0]}</bdi></p>`}</div>
    <${SchemaForm} key=${value.type} label=${value.type || "Fields"} schema=${schema} value=${value.fields}
      onChange=${(fields) => onChange({ ...value, fields })} ...${{ errors, onProblem, isChecked }} />`;
}
