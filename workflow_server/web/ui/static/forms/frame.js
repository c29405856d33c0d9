// What stands around the input of a field: its name, its rules, and what is wrong.
import { html } from "../lib.js";
import { rulesOf } from "./rules.js";
import { titleOf } from "./schema.js";

/** The line above a field: its name, and what can be done with it. */
export function Head({ id, name, schema, isMarked, rename, isGroup, children }) {
  const title = titleOf(name, schema);
  const text = rename ?? html`<bdi class="field-name">${title ?? name}</bdi>
    ${title !== null && html` <bdi class="faint mono">${name}</bdi>`}`;
  const mark = isMarked && html`<span class="field-required">required</span>`;
  if (isGroup) return html`<legend class="field-head">${text}${mark}${children}</legend>`;
  return html`<div class="field-head">${rename ? text : html`<label for=${id}>${text}</label>`}${mark}${children}</div>`;
}

const descriptionOf = ({ schema, shape }) => schema.description ?? shape.schema.description;

/** What a field is for, what its rules are, what seems wrong (`doubt`), and what the server said (`errors`). */
export function Notes({ id, shape, schema, doubt, errors }) {
  const description = descriptionOf({ schema, shape });
  const rules = rulesOf(shape);
  return html`
    ${(description || rules) && html`<p class="field-hint" id=${`${id}-hint`}>${description && html`<bdi>${description}</bdi>`}
      ${rules && html` <bdi class="field-rules">${rules}</bdi>`}</p>`}
    ${doubt && errors.length === 0 && html`<p class="field-doubt" id=${`${id}-doubt`}>${doubt}</p>`}
    <${Errors} id=${`${id}-error`} errors=${errors} />`;
}

export const Errors = ({ id, errors }) => errors.length > 0 && html`<p class="field-error" id=${id}>
  ${errors.map((error) => html`<bdi key=${error}>${error}</bdi>`)}</p>`;

/** Return the attributes of an input that lead to its notes. */
export function attributesOf({ id, shape, schema, doubt, errors, required }) {
  const parts = [];
  if (descriptionOf({ schema, shape }) || rulesOf(shape)) parts.push(`${id}-hint`);
  if (errors.length > 0) parts.push(`${id}-error`);
  else if (doubt) parts.push(`${id}-doubt`);
  return {
    "aria-describedby": parts.join(" ") || undefined,
    "aria-invalid": errors.length > 0 ? "true" : undefined,
    "aria-required": required ? "true" : undefined,
  };
}
