// A field of a form: what frames it. Parts of values are drawn only where there is a value.
import { Button } from "../components/basics.js";
import { html, useRef, useState } from "../lib.js";
import { DictFields, ListFields, ObjectFields, TupleFields } from "./composites.js";
import { errorsAt, useFieldId, useForm } from "./context.js";
import { sameJson } from "./exact_json.js";
import { useFile } from "./files.js";
import { attributesOf, Notes, Head } from "./frame.js";
import { BooleanInput, ConstInput, EnumInput, JsonInput, NumberInput } from "./inputs.js";
import { doubtAbout } from "./rules.js";
import { bestBranch, branchName, fit, initial, shapeOf } from "./schema.js";
import { TextInput } from "./text_input.js";
import { TimeInput } from "./time_input.js";

const INPUTS = {
  text: TextInput, number: NumberInput, decimal: NumberInput, boolean: BooleanInput, enum: EnumInput, const: ConstInput, json: JsonInput,
  date: TimeInput, time: TimeInput, "date-time": TimeInput,
};
const SAYS_UNSET = new Set(["boolean", "enum", "const"]);
const PARTS = { object: ObjectFields, dict: DictFields, list: ListFields, tuple: TupleFields };

/**
 * A field with its name. `onChange(undefined)` takes its value away. `actions` are buttons beside the name, `rename` draws
 * another name, `isItem` marks an item of a list or an entry: always there, and a text at first where anything goes.
 */
export function Field(props) {
  const { name, schema, value, required = false, isItem = false } = props;
  const { root } = useForm();
  const shape = shapeOf(schema, root);
  const id = useFieldId();
  const hasDefault = (shape.schema.default ?? null) !== null;
  // Where null is a value and nothing else stands for "not set", it is sent.
  const unset = shape.nullable && (required || hasDefault) ? null : undefined;
  const isSet = value !== undefined && !(shape.nullable && value === null);
  const given = {
    ...props, id, shape, unset, isSet,
    label: String(props.label ?? name),
    required: required && !shape.nullable,
    isMarked: required && !shape.nullable && !isItem,
    canLeaveOut: !isItem && (shape.nullable || (!required && !hasDefault)),
  };
  if (shape.kind === "union") return html`<${UnionField} ...${given} />`;
  return PARTS[shape.kind] ? html`<${GroupField} ...${given} />` : html`<${LeafField} ...${given} />`;
}

const LeaveOut = ({ label, onClick }) => html`<${Button} quiet small aria-label=${`Leave out ${label}`} onClick=${onClick}>
  Leave out</${Button}>`;

function LeafField(props) {
  const { schema, value, onChange, path, required, id, shape, unset, isSet, label, actions, canLeaveOut } = props;
  const { errors, isChecked } = useForm();
  const [wasLeft, setLeft] = useState(false);
  const file = useFile(onChange, label, shape);
  // A value of another kind stays as it is, as JSON.
  const Input = isSet && value !== null && typeof value === "object" && fit(value, shape.schema, {}) < 0 ? JsonInput : INPUTS[shape.kind];
  const missing = required && value === undefined && (isChecked || wasLeft) ? "This is required." : null;
  const notes = { id, shape, schema, doubt: isSet ? doubtAbout(value, shape) : missing, errors: errorsAt(errors, path), required };
  const isText = shape.kind === "text" || Input === JsonInput;
  return html`<div class="field" onFocusOut=${() => setLeft(true)} ...${file.box}>
    <${Head} ...${props}>${!isSet && canLeaveOut && !SAYS_UNSET.has(shape.kind) && html`<span class="faint">not set</span>`}
      <span class="field-actions">${file.button}
        ${isText && isSet && canLeaveOut && html`<${LeaveOut} label=${label} onClick=${() => onChange(unset)} />`}
        ${actions}</span></${Head}>
    <${Input} ...${{ id, value, onChange, shape, label, unset, required, canLeaveOut }}
      attributes=${{ ...attributesOf(notes), ...(props.rename && { "aria-label": label }) }} />
    ${file.said}
    <${Notes} ...${notes} />
  </div>`;
}

/** A value with parts: an object, a list. One that may be left out is drawn once it is set. */
function GroupField(props) {
  const { schema, value, onChange, path, id, shape, unset, isSet, label, actions, canLeaveOut } = props;
  const { root, errors } = useForm();
  const isStrange = isSet && !hasParts(value, shape);
  const drawn = isSet && !isStrange ? partsOf(value, shape) : null;
  const notes = { id, shape, schema, doubt: isSet ? doubtAbout(value, shape) : null, errors: errorsAt(errors, path, drawn) };
  const { default: first, ...bare } = shape.schema;
  const add = () => onChange(first ?? initial(bare, root) ?? emptyOf(shape));
  return html`<fieldset class="field group" aria-describedby=${attributesOf(notes)["aria-describedby"]}>
    <${Head} ...${props} isGroup>${!isSet && html`<span class="faint">not set</span>
      <${Button} small aria-label=${`Set ${label}`} onClick=${add}>Set</${Button}>`}
      <span class="field-actions">${isSet && canLeaveOut && html`<${LeaveOut} label=${label} onClick=${() => onChange(unset)} />`}
        ${actions}</span></${Head}>
    <${Notes} ...${notes} />
    ${isSet && html`<${isStrange ? JsonInput : PARTS[shape.kind]} ...${{ id, value, onChange, path, schema: shape.schema, label, unset }}
      attributes=${{ "aria-label": label }} />`}
  </fieldset>`;
}

const isList = (shape) => shape.kind === "list" || shape.kind === "tuple";
const emptyOf = (shape) => (isList(shape) ? [] : {});
const hasParts = (value, shape) => value !== null && typeof value === "object" && isList(shape) === Array.isArray(value);

function partsOf(value, shape) {
  if (Array.isArray(value)) return value.map((_, index) => String(index));
  return [...new Set([...Object.keys(shape.schema.properties ?? {}), ...Object.keys(value)])];
}

/** A value of one of several kinds: which one is chosen first. */
function UnionField(props) {
  const { schema, value, onChange, path, required, id, shape, unset, label, actions, isItem } = props;
  const { root, errors } = useForm();
  const { branches } = shape;
  const isAny = branches[0].asJson === true;
  const isSet = props.isSet && (value !== null || !isAny || required);
  const [choice, setChoice] = useState(null);
  const emitted = useRef(undefined);
  // A choice holds until the value is changed elsewhere.
  const isChosen = choice !== null && sameJson(emitted.current ?? null, value ?? null);
  const first = isAny && required ? Number(isItem === true) : -1;
  const current = isChosen ? choice : isSet ? bestBranch(value, branches, root) : first;
  const emit = (next, index = current) => {
    emitted.current = next;
    setChoice(index);
    onChange(next);
  };
  const choose = (event) => {
    const index = Number(event.target.value);
    if (index < 0) emit(unset, null);
    else emit(isSet && fit(value, branches[index], root) >= 0 ? value : initial(branches[index], root), index);
  };
  const branch = branches[current];
  const named = { "aria-label": label };
  const mayUnset = !required || current < 0;
  return html`<div class="field union">
    <${Head} ...${props}><select id=${id} class="field-kind" value=${current} onChange=${choose} aria-label=${`Kind of ${label}`}>
        ${mayUnset && html`<option value=${-1}>${isSet ? "other" : required ? "Choose…" : "not set"}</option>`}
        ${branches.map((one, index) => html`<option key=${index} value=${index}>${branchName(one, root)}</option>`)}
      </select><span class="field-actions">${actions}</span></${Head}>
    ${branch ? html`<${Branch} key=${current} ...${{ branch, value, onChange: emit, path, label, description: schema.description }} />`
             : html`${isSet && html`<${JsonInput} id=${`${id}-other`} ...${{ value, unset, onChange: emit, attributes: named }} />`}
               <${Notes} ...${{ id, shape, schema, doubt: null, errors: errorsAt(errors, path) }} />`}
  </div>`;
}

/** The chosen branch of a union, below its name. */
function Branch({ branch, value, onChange, path, label, description }) {
  const { root, errors, isChecked } = useForm();
  const shape = shapeOf(branch, root);
  const id = useFieldId();
  const file = useFile(onChange, label, shape);
  const schema = { description: description ?? shape.schema.description };
  if (shape.kind === "union") return html`<${Field} name=${label} schema=${branch} required ...${{ value, onChange, path }} />`;
  if (PARTS[shape.kind]) {
    const shown = hasParts(value ?? null, shape) ? value : emptyOf(shape);
    const own = errorsAt(errors, path, partsOf(shown, shape));
    return html`<div class="group"><${Notes} ...${{ id, shape, schema, doubt: null, errors: own }} />
      <${PARTS[shape.kind]} ...${{ value: shown, onChange, path, schema: shape.schema, label }} /></div>`;
  }
  const missing = isChecked ? "This is required." : null;
  const notes = { id, shape, schema, doubt: value === undefined ? missing : doubtAbout(value, shape), errors: errorsAt(errors, path) };
  return html`<div class="field" ...${file.box}>
    <${INPUTS[shape.kind]} ...${{ id, value, onChange, shape, label }} required
      attributes=${{ ...attributesOf(notes), "aria-label": label }} />
    ${file.said}<${Notes} ...${notes} /></div>`;
}
