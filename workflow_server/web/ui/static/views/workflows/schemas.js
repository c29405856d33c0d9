// What a workflow takes and gives: its events and their fields.
import { Failure, Panel, Text } from "../../components/basics.js";
import { JsonTree } from "../../components/json_tree.js";
import { useLoaded } from "../../hooks.js";
import { html } from "../../lib.js";

/** Return the type of a field in a few words: "string", "list of integer", "Counts or null". */
export function typeOf(schema, depth = 0) {
  if (schema === null || typeof schema !== "object" || depth > 4) return "anything";
  if (schema.$ref) return String(schema.$ref).split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (Array.isArray(schema.enum)) return schema.enum.slice(0, 6).map((value) => JSON.stringify(value)).join(" or ");
  const options = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(options)) return options.map((option) => typeOf(option, depth + 1)).join(" or ");
  if (schema.type === "array") return schema.items ? `list of ${typeOf(schema.items, depth + 1)}` : "list";
  if (schema.type === "object" && schema.additionalProperties) return `object of ${typeOf(schema.additionalProperties, depth + 1)}`;
  if (typeof schema.type === "string") return schema.format ? `${schema.type} (${schema.format})` : schema.type;
  return "anything";
}

export function EventSchemas({ name }) {
  const events = useLoaded(["workflows", name, "events"]);
  const ends = useLoaded(["workflows", name, "schema"]);
  const start = ends.value?.start?.title;
  const stop = ends.value?.stop?.title;
  const place = ({ title }) => (title === start ? 0 : title === stop ? 2 : 1);
  const sorted = [...(events.value?.events ?? [])].sort((one, other) => place(one) - place(other));
  return html`<${Panel} title="Events" hint="what its steps take and give">
    <${Failure} error=${events.error} onRetry=${events.reload} />
    <div class="schemas">${sorted.map((schema, index) => html`
      <${Schema} key=${index} schema=${schema} role=${schema.title === start ? "starts a run" : schema.title === stop ? "its result" : null} />`)}</div>
  </${Panel}>`;
}

function Schema({ schema, role }) {
  const fields = Object.entries(schema.properties ?? {});
  const required = new Set(schema.required ?? []);
  return html`<details class="schema"><summary><b><${Text}>${schema.title ?? "Event"}</${Text}></b>
      ${role && html` <span class="tag">${role}</span>`} <span class="faint">${fields.map(([field]) => field).slice(0, 6).join(", ")}${fields.length > 6 ? ", …" : ""}</span></summary>
    <div class="schema-body">
      ${schema.description && html`<p class="soft schema-text"><${Text}>${schema.description}</${Text}></p>`}
      ${fields.length > 0 && html`<table class="rows"><tbody>${fields.map(([field, one]) => html`<tr key=${field}>
        <td class="mono"><${Text}>${field}</${Text}>${required.has(field) && html`<span class="bad" title="required"> *</span>`}</td>
        <td class="soft"><${Text}>${typeOf(one)}</${Text}></td>
        <td class="soft"><${Text}>${one?.description ?? (one?.default === undefined ? "" : `default ${JSON.stringify(one.default)}`)}</${Text}></td></tr>`)}</tbody></table>`}
      <details><summary class="soft">JSON schema</summary><${JsonTree} value=${schema} open=${1} /></details>
    </div></details>`;
}
