// The input of a text, which grows with it.
import { Button } from "../components/basics.js";
import { count } from "../format.js";
import { html } from "../lib.js";
import { isLine } from "./files.js";

const LARGE = 200_000; // Characters beyond which a text area is slow.
const SHOWN = 1_500;
const MOST_ROWS = 14;

function rowsFor(text) {
  let rows = 1;
  for (let at = text.indexOf("\n"); at >= 0 && rows < MOST_ROWS; at = text.indexOf("\n", at + 1)) rows += 1;
  return Math.min(MOST_ROWS, Math.max(rows, Math.ceil(text.length / 90)));
}

export function TextInput({ id, value, onChange, shape, label, attributes }) {
  const text = value === undefined || value === null ? "" : String(value);
  if (text.length > LARGE) return html`<${LargeText} ...${{ id, text, onChange, label }} />`;
  const given = {
    id, value: text, spellcheck: false, placeholder: value === "" ? "(empty text)" : "", ...attributes,
    onInput: (event) => onChange(event.target.value),
  };
  if (shape.schema.format === "password") return html`<input type="password" autocomplete="new-password" ...${given} />`;
  if (isLine(shape.schema) && !text.includes("\n")) return html`<input type="text" autocomplete="off" ...${given} />`;
  return html`<textarea rows=${rowsFor(text)} ...${given}></textarea>`;
}

/** A text that is too large for a text area: its beginning, its size, and a way to replace it. */
function LargeText({ id, text, onChange, label }) {
  return html`<div class="field-large"><pre tabindex="0" aria-label=${`Beginning of ${label}`}><bdi>${text.slice(0, SHOWN)}</bdi></pre>
    <p class="field-hint num">The first ${count(SHOWN, "character")} of ${count(text.length, "character")}.
      <${Button} quiet small id=${id} onClick=${() => onChange("")} aria-label=${`Empty ${label}`}>Empty it</${Button}></p></div>`;
}
