// The parts of objects, lists, tuples and dictionaries.
import { announce, Button } from "../components/basics.js";
import { html, useLayoutEffect, useRef, useState } from "../lib.js";
import { useForm } from "./context.js";
import { sameJson, withKey } from "./exact_json.js";
import { Field } from "./fields.js";
import { initial, resolve, shapeOf } from "./schema.js";

const STEP = 50; // Items of a list that are drawn at a time.

/** The fields of an object, and below them what it has beside them. */
export function ObjectFields({ value, onChange, path, schema, fixed = {}, isOpen = false, label }) {
  const { root } = useForm();
  const properties = Object.entries(schema.properties ?? {}).map(([name, property]) => [name, resolve(property, root)]);
  const names = properties.map(([name]) => name);
  const latest = useRef(value);
  latest.current = value;
  const set = (name, part) => onChange(withKey(latest.current, name, part));
  const extra = schema.additionalProperties;
  const isExtensible = extra === undefined ? isOpen : extra !== false;
  // What has one value and has it already, such as the tag of a union, is nobody's choice.
  const isChoice = ([name, property]) => !Object.hasOwn(fixed, name) && !("const" in property && sameJson(property.const, value[name]));
  return html`<div class="field-parts">
    ${properties.filter(isChoice).map(([name, property]) => html`<${Field} key=${name} name=${name} schema=${property} value=${value[name]}
      required=${(schema.required ?? []).includes(name)} path=${[...path, name]} onChange=${(part) => set(name, part)} />`)}
    <${Entries} ...${{ value, onChange, path, isExtensible, label }} others=${[...names, ...Object.keys(fixed)]}
      schema=${typeof extra === "object" ? extra : {}} what="field" />
  </div>`;
}

export function DictFields({ value, onChange, path, schema, label }) {
  const extra = schema.additionalProperties;
  return html`<div class="field-parts"><${Entries} ...${{ value, onChange, path, label }} others=${[]} schema=${typeof extra === "object" ? extra : {}}
    isExtensible=${extra !== false} what="entry" /></div>`;
}

let lastId = 0;
const newId = () => (lastId += 1);

/** Entries with keys that a person chooses. */
function Entries({ value, onChange, path, others, schema, isExtensible, what, label }) {
  const { root } = useForm();
  const box = useRef(null);
  const focusKey = useRef(null);
  // Ids, so that an entry whose key changes stays the same on the page.
  const ids = useRef(new Map());
  const keys = Object.keys(value).filter((key) => !others.includes(key));
  const idOf = (key) => ids.current.get(key) ?? ids.current.set(key, newId()).get(key);
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
    let key = what === "field" ? "name" : "key";
    for (let n = 2; Object.hasOwn(value, key) || others.includes(key); n += 1) key = `${what === "field" ? "name" : "key"}${n}`;
    focusKey.current = key;
    const isText = ["text", "union"].includes(shapeOf(schema, root).kind);
    onChange(withKey(value, key, initial(schema, root) ?? (isText ? "" : null)));
  };
  const remove = (key) => {
    onChange(withKey(value, key, undefined));
    announce(`${key} removed`);
    box.current.querySelector(".field-add")?.focus();
  };
  return html`<div class="field-entries" ref=${box}>
    ${keys.map((key) => html`<${Field} key=${idOf(key)} name=${key} label=${key} schema=${schema} value=${value[key]} path=${[...path, key]} isItem
      required onChange=${(part) => onChange(withKey(value, key, part ?? null))}
      rename=${html`<${Key} name=${key} isTaken=${(next) => next !== key && (Object.hasOwn(value, next) || others.includes(next))} onRename=${(next) => rename(key, next)} />`}
      actions=${html`<${Button} quiet small aria-label=${`Remove ${key}`} onClick=${() => remove(key)}>Remove</${Button}>`} />`)}
    ${isExtensible && html`<${Button} small quiet=${what === "field"} class=${`btn small field-add ${what === "field" ? "quiet" : ""}`} onClick=${add}
      aria-label=${`Add ${what === "field" ? "a field" : "an entry"} to ${label}`}>${what === "field" ? "+ Another field" : "+ Entry"}</${Button}>`}
  </div>`;
}

/** The key of an entry. It is taken over when it is left: half a key may be another one's. */
function Key({ name, isTaken, onRename }) {
  const [typed, setTyped] = useState(null);
  const shown = typed ?? name;
  const problem = typed !== null && isTaken(typed) ? "Another entry has this key." : null;
  const leave = () => {
    if (typed !== null && typed !== name && !problem) onRename(typed);
    if (!problem) setTyped(null);
  };
  return html`<input class="field-key mono" type="text" value=${shown} aria-label=${`Key of ${name}`} aria-invalid=${problem ? "true" : undefined}
      onInput=${(event) => setTyped(event.target.value)} onBlur=${leave} onKeyDown=${(event) => event.key === "Enter" && (event.preventDefault(), leave())} />
    ${problem && html`<span class="field-error" role="status">${problem}</span>`}`;
}

/** Ids of the items of a list, which stay with them when they move. */
function useItemIds(length) {
  const state = useRef({ ids: [], next: 0 });
  const { ids } = state.current;
  while (ids.length < length) ids.push((state.current.next += 1));
  ids.length = length;
  return ids;
}

export function ListFields({ value, onChange, path, schema, label }) {
  const { root } = useForm();
  const ids = useItemIds(value.length);
  const [most, setMost] = useState(STEP);
  const box = useRef(null);
  const focus = useRef(null);
  useLayoutEffect(() => {
    if (focus.current === null) return;
    const { index, what } = focus.current;
    const item = box.current.children[index];
    (item?.querySelector(what) ?? item?.querySelector("button:enabled") ?? box.current.querySelector(":scope > .field-add"))?.focus();
    focus.current = null;
  });
  const add = () => {
    setMost(Math.max(most, value.length + 1));
    focus.current = { index: value.length, what: "input:not([hidden]), textarea, select" };
    onChange([...value, initial(schema.items ?? {}, root) ?? null]);
  };
  const remove = (index) => {
    ids.splice(index, 1);
    focus.current = { index: Math.min(index, value.length - 2), what: "button.field-remove" };
    announce(`Item ${index + 1} of ${label} removed`);
    onChange(value.filter((_, place) => place !== index));
  };
  const move = (index, by) => {
    const next = [...value];
    for (const list of [next, ids]) [list[index], list[index + by]] = [list[index + by], list[index]];
    focus.current = { index: index + by, what: by < 0 ? "button.field-up:enabled" : "button.field-down:enabled" };
    announce(`Item ${index + 1} of ${label} is item ${index + by + 1} now`);
    onChange(next);
  };
  return html`<div class="field-parts items" ref=${box}>
    ${value.slice(0, most).map((item, index) => html`<${Field} key=${ids[index]} name=${String(index + 1)} label=${`${label} ${index + 1}`} schema=${schema.items ?? {}} isItem
      value=${item ?? undefined} required path=${[...path, index]} onChange=${(part) => onChange(value.map((one, place) => (place === index ? part ?? null : one)))}
      actions=${html`<${ItemActions} ...${{ index, label, length: value.length, move, remove }} />`} />`)}
    ${value.length > most && html`<${Button} small quiet onClick=${() => setMost(most + 4 * STEP)}>${value.length - most} more items</${Button}>`}
    <${Button} small class="btn small field-add" onClick=${add} aria-label=${`Add an item to ${label}`}>+ Item</${Button}>
  </div>`;
}

function ItemActions({ index, label, length, move, remove }) {
  const item = `item ${index + 1} of ${label}`;
  return html`<${Button} quiet small class="btn quiet small field-up" disabled=${index === 0} aria-label=${`Move ${item} up`} onClick=${() => move(index, -1)}>↑</${Button}>
    <${Button} quiet small class="btn quiet small field-down" disabled=${index === length - 1} aria-label=${`Move ${item} down`} onClick=${() => move(index, 1)}>↓</${Button}>
    <${Button} quiet small class="btn quiet small field-remove" aria-label=${`Remove ${item}`} onClick=${() => remove(index)}>Remove</${Button}>`;
}

/** A list with a schema for each place. */
export function TupleFields({ value, onChange, path, schema, label }) {
  const places = Math.max(schema.prefixItems.length, value.length);
  const set = (index, part) => onChange(Array.from({ length: Math.max(value.length, index + 1) }, (_, place) => (place === index ? part : value[place]) ?? null));
  return html`<div class="field-parts items">${Array.from({ length: places }, (_, index) => {
    const item = schema.prefixItems[index] ?? (typeof schema.items === "object" ? schema.items : {});
    return html`<${Field} key=${index} name=${item.title ?? String(index + 1)} label=${`${label} ${item.title ?? index + 1}`} schema=${item} value=${value[index] ?? undefined}
      isItem required path=${[...path, index]} onChange=${(part) => set(index, part)} />`;
  })}</div>`;
}
