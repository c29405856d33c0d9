// Entries whose keys a person chooses: those of a dictionary, and what an object has beside its fields.
import { announce, Button } from "../components/basics.js";
import { html, useLayoutEffect, useRef, useState } from "../lib.js";
import { useForm } from "./context.js";
import { withKey } from "./exact_json.js";
import { Field } from "./fields.js";
import { initial, shapeOf } from "./schema.js";

let lastId = 0;
const newId = () => (lastId += 1);
const WORDS = {
  field: { key: "name", add: "+ Field", label: "a field" },
  entry: { key: "key", add: "+ Entry", label: "an entry" },
};

/** `others` are the keys that the form draws elsewhere; `what` is field or entry. */
export function Entries({ value, onChange, path, others, schema, isExtensible, what, label }) {
  const { root } = useForm();
  const box = useRef(null);
  const focusKey = useRef(null);
  // Ids, so that an entry whose key changes stays the same on the page.
  const ids = useRef(new Map());
  const words = WORDS[what];
  const keys = Object.keys(value).filter((key) => !others.includes(key));
  const idOf = (key) => ids.current.get(key) ?? ids.current.set(key, newId()).get(key);
  const isTaken = (key) => Object.hasOwn(value, key) || others.includes(key);
  useLayoutEffect(() => {
    if (focusKey.current === null) return;
    [...box.current.querySelectorAll("input.field-key")].find((input) => input.value === focusKey.current)?.select();
    focusKey.current = null;
  });
  const rename = (key, next) => {
    ids.current.set(next, idOf(key));
    ids.current.delete(key);
    onChange(Object.fromEntries(Object.entries(value).map(([name, part]) => [name === key ? next : name, part])));
  };
  const add = () => {
    let key = words.key;
    for (let n = 2; isTaken(key); n += 1) key = `${words.key}${n}`;
    focusKey.current = key;
    const isText = ["text", "union"].includes(shapeOf(schema, root).kind);
    onChange(withKey(value, key, initial(schema, root) ?? (isText ? "" : null)));
  };
  const remove = (key) => {
    onChange(withKey(value, key, undefined));
    announce(`${key} removed`);
    box.current.querySelector(".field-add")?.focus();
  };
  const entry = (key) => html`<${Field} key=${idOf(key)} name=${key} label=${key} schema=${schema} value=${value[key]}
    path=${[...path, key]} isItem required onChange=${(part) => onChange(withKey(value, key, part ?? null))}
    rename=${html`<${Key} name=${key} isTaken=${(next) => next !== key && isTaken(next)} onRename=${(next) => rename(key, next)} />`}
    actions=${html`<${Button} quiet small aria-label=${`Remove ${key}`} onClick=${() => remove(key)}>Remove</${Button}>`} />`;
  return html`<div class="field-entries" ref=${box}>${keys.map(entry)}
    ${isExtensible && html`<${Button} class="btn small field-add" onClick=${add} aria-label=${`Add ${words.label} to ${label}`}>
      ${words.add}</${Button}>`}
  </div>`;
}

/** The key of an entry. It is taken over when it is left: half a key may be another one's. */
function Key({ name, isTaken, onRename }) {
  const [typed, setTyped] = useState(null);
  const problem = typed !== null && isTaken(typed) ? "Another entry has this key." : null;
  const leave = () => {
    if (problem) return;
    if (typed !== null && typed !== name) onRename(typed);
    setTyped(null);
  };
  const onKeyDown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    leave();
  };
  return html`<input class="field-key mono" type="text" value=${typed ?? name} aria-label=${`Key of ${name}`}
      aria-invalid=${problem ? "true" : undefined} onInput=${(event) => setTyped(event.target.value)} onBlur=${leave}
      onKeyDown=${onKeyDown} />
    ${problem && html`<span class="field-error" role="status">${problem}</span>`}`;
}
