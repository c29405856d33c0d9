// A JSON value as a tree that is opened part by part: only what is open is drawn.
import { html, useState } from "../lib.js";
import { ExactNumber } from "../forms/exact_json.js";
import { visible } from "../format.js";
import { Copy } from "./basics.js";

const LONGEST = 400; // Characters of a text before "show all".
const STEP = 100; // Members of a list or an object that are drawn at a time.
const MOST_SHOWN = 100_000; // Characters of a text that are ever drawn; all of it can be copied.

const isBranch = (value) => value !== null && typeof value === "object" && !(value instanceof ExactNumber);

/** Return a value in one line, cut: what a closed part shows. Bounded work, however large the value is. */
export function preview(value, most = 120) {
  let left = most;
  const write = (part, depth) => {
    if (left <= 0) return "";
    let text;
    if (Array.isArray(part)) {
      text = depth > 3 ? "[…]" : `[${list(part, depth, (item) => write(item, depth + 1))}]`;
    } else if (isBranch(part)) {
      text = depth > 3 ? "{…}" : `{ ${list(Object.keys(part), depth, (key) => `${key}: ${write(part[key], depth + 1)}`)} }`;
    } else {
      text = typeof part === "string" ? JSON.stringify(part.slice(0, left)) : String(part);
      left -= text.length;
    }
    return text;
  };
  const list = (items, depth, each) => {
    const parts = [];
    for (const item of items) {
      if (left <= 0) {
        parts.push("…");
        break;
      }
      left -= 2;
      parts.push(each(item));
    }
    return parts.join(", ");
  };
  const text = write(value, 0);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** A value. `open` is how many levels are open at first. */
export function JsonTree({ value, name = null, open = 1 }) {
  if (isBranch(value)) return html`<${Branch} value=${value} name=${name} open=${open} />`;
  return html`<div class="json-leaf">${name !== null && html`<span class="json-key"><bdi>${visible(name)}</bdi>: </span>`}
    ${typeof value === "string" ? html`<${LongText} text=${value} />` : html`<span class="json-atom">${String(value)}</span>`}</div>`;
}

function Branch({ value, name, open }) {
  const [isOpen, setOpen] = useState(open > 0);
  const [most, setMost] = useState(STEP);
  const isList = Array.isArray(value);
  const keys = isList ? value : Object.keys(value);
  const shown = Math.min(keys.length, most);
  const members = [];
  for (let index = 0; isOpen && index < shown; index += 1) {
    const key = isList ? index : keys[index];
    members.push(html`<${JsonTree} key=${key} name=${String(key)} value=${value[key]} open=${open - 1} />`);
  }
  return html`<div class="json-branch">
    <button type="button" class="json-toggle" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>
      <span class="json-arrow" aria-hidden="true">${isOpen ? "▾" : "▸"}</span>
      ${name !== null && html`<span class="json-key"><bdi>${visible(name)}</bdi>: </span>`}
      ${isOpen ? html`<span class="faint">${isList ? `[${keys.length}]` : `{${keys.length}}`}</span>`
               : html`<bdi class="json-preview">${visible(preview(value))}</bdi>`}
    </button>
    ${isOpen && html`<div class="json-members">${members}
      ${keys.length > shown && html`<button type="button" class="json-more" onClick=${() => setMost(most * 4)}>
        ${keys.length - shown} more</button>`}</div>`}
  </div>`;
}

function LongText({ text }) {
  const [all, setAll] = useState(false);
  const shown = text.slice(0, all ? MOST_SHOWN : LONGEST);
  return html`"<bdi class="json-text">${visible(shown)}</bdi>"${text.length > shown.length && html`
    <span class="faint"> … ${text.length} characters </span>
    ${!all && html`<button type="button" class="json-more" onClick=${() => setAll(true)}>
      show ${text.length > MOST_SHOWN ? "more" : "all"}</button>`}
    <${Copy} text=${text} />`}`;
}
