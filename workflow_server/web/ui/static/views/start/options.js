// What else a start can say: tags, the handler's id, the idempotency key.
import { newKey } from "../../api.js";
import { Button } from "../../components/basics.js";
import { html } from "../../lib.js";

/** Return the tags of a text with commas between them. */
export const tagsOf = (text) => text.split(",").map((tag) => tag.trim()).filter(Boolean);

export function Options({ value, onChange, errors }) {
  const set = (changes) => onChange({ ...value, ...changes });
  const isOpen = errors.length > 0 || value.tags !== "";
  const of = (key) => errors.filter(({ path }) => path[0] === key);
  return html`<details class="panel start-options" open=${isOpen}><summary>Options</summary><div class="inner">
    <${Option} id="start-tags" label="Tags" value=${value.tags} onInput=${(tags) => set({ tags })} errors=${of("tags")}
      hint="Texts by which you find the run, with commas between them." placeholder="customer-7, nightly" />
    <${Option} id="start-handler" label="Handler id" mono value=${value.handlerId} onInput=${(handlerId) => set({ handlerId })}
      errors=${of("handler_id")} hint="To go on with the state of a completed run: its id. Empty starts a new one." />
    <${Option} id="start-key" label="Idempotency key" mono value=${value.key} onInput=${(key) => set({ key })} errors=${[]}
      hint="A second start with this key starts nothing, and leads to the same run.">
      <${Button} small quiet onClick=${() => set({ key: newKey() })}>New key</${Button}></${Option}>
  </div></details>`;
}

function Option({ id, label, value, onInput, errors, hint, mono, placeholder, children }) {
  const invalid = errors.length > 0 ? "true" : undefined;
  return html`<div class="field">
    <div class="field-head"><label for=${id}>${label}</label><span class="field-actions">${children}</span></div>
    <input id=${id} type="text" class=${mono ? "mono" : ""} value=${value} placeholder=${placeholder} autocomplete="off" spellcheck=${false}
      aria-describedby=${`${id}-hint`} aria-invalid=${invalid} onInput=${(event) => onInput(event.target.value)} />
    <p class="field-hint" id=${`${id}-hint`}>${hint}</p>
    ${errors.map(({ message }) => html`<p class="field-error" key=${message}><bdi>${message}</bdi></p>`)}
  </div>`;
}
