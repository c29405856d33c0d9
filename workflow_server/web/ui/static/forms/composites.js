// The parts of objects, lists, tuples and dictionaries.
import { announce, Button } from "../components/basics.js";
import { html, useLayoutEffect, useRef, useState } from "../lib.js";
import { useForm } from "./context.js";
import { Entries } from "./entries.js";
import { sameJson, withKey } from "./exact_json.js";
import { Field } from "./fields.js";
import { initial, resolve } from "./schema.js";

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
  const schemaOfAll = typeof extra === "object" ? extra : {};
  return html`<div class="field-parts"><${Entries} ...${{ value, onChange, path, label }} others=${[]} schema=${schemaOfAll}
    isExtensible=${extra !== false} what="entry" /></div>`;
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
  const set = (index, part) => onChange(value.map((one, place) => (place === index ? part ?? null : one)));
  return html`<div class="field-parts" ref=${box}>
    ${value.slice(0, most).map((item, index) => html`<${Field} key=${ids[index]} name=${String(index + 1)} label=${`${label} ${index + 1}`}
      schema=${schema.items ?? {}} isItem required value=${item ?? undefined} path=${[...path, index]}
      onChange=${(part) => set(index, part)}
      actions=${html`<${ItemActions} ...${{ index, label, length: value.length, move, remove }} />`} />`)}
    ${value.length > most && html`<${Button} small quiet onClick=${() => setMost(most + 4 * STEP)}>
      ${value.length - most} more items</${Button}>`}
    <${Button} small class="btn small field-add" onClick=${add} aria-label=${`Add an item to ${label}`}>+ Item</${Button}>
  </div>`;
}

function ItemActions({ index, label, length, move, remove }) {
  const item = `item ${index + 1} of ${label}`;
  const action = (name, word, sign, disabled, act) => html`<${Button} class="btn quiet small field-${name}" disabled=${disabled}
    aria-label=${word} onClick=${act}>${sign}</${Button}>`;
  return html`${action("up", `Move ${item} up`, "↑", index === 0, () => move(index, -1))}
    ${action("down", `Move ${item} down`, "↓", index === length - 1, () => move(index, 1))}
    ${action("remove", `Remove ${item}`, "Remove", false, () => remove(index))}`;
}

/** A list with a schema for each place. */
export function TupleFields({ value, onChange, path, schema, label }) {
  const places = Math.max(schema.prefixItems.length, value.length);
  const rest = typeof schema.items === "object" ? schema.items : {};
  const set = (index, part) => {
    const length = Math.max(value.length, index + 1);
    onChange(Array.from({ length }, (_, place) => (place === index ? part : value[place]) ?? null));
  };
  const place = (_, index) => {
    const item = schema.prefixItems[index] ?? rest;
    const name = item.title ?? String(index + 1);
    return html`<${Field} key=${index} name=${name} label=${`${label} ${name}`} schema=${item} isItem required
      value=${value[index] ?? undefined} path=${[...path, index]} onChange=${(part) => set(index, part)} />`;
  };
  return html`<div class="field-parts">${Array.from({ length: places }, place)}</div>`;
}
