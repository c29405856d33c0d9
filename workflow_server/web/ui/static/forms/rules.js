// The rules of a field, as a person reads them, and what seems to break them.
import { count as counted, number as formatted } from "../format.js";
import { isNumber } from "./exact_json.js";

/** Return the rules of a field as a person reads them: "0 to 60", "at least 1 character". */
export function rulesOf({ kind, schema }) {
  const rules = [];
  if (kind === "number" || kind === "decimal") rules.push(...numberRules(schema));
  if (kind === "text") rules.push(lengths(schema.minLength, schema.maxLength, "character"));
  if (kind === "text" && schema.pattern) rules.push(`pattern ${schema.pattern}`);
  if (kind === "text" && FORMAT_HINTS[schema.format]) rules.push(FORMAT_HINTS[schema.format]);
  if (kind === "list") rules.push(lengths(schema.minItems, schema.maxItems, "item"), schema.uniqueItems ? "no item twice" : null);
  if (kind === "dict") rules.push(lengths(schema.minProperties, schema.maxProperties, "entry", "entries"));
  return rules.filter(Boolean).join(" · ");
}

const FORMAT_HINTS = {
  uuid: "a UUID", email: "an e-mail address", uri: "a URL", duration: "a duration: PT1H30M", binary: "bytes, as text",
  "json-string": "a text that holds JSON",
};

function numberRules(schema) {
  const { minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: below, multipleOf } = schema;
  const rules = [];
  if (schema.type === "integer") rules.push("whole number");
  if (minimum !== undefined && maximum !== undefined) rules.push(`${minimum} to ${maximum}`);
  else if (minimum !== undefined) rules.push(`at least ${minimum}`);
  else if (maximum !== undefined) rules.push(`at most ${maximum}`);
  if (above !== undefined) rules.push(`above ${above}`);
  if (below !== undefined) rules.push(`below ${below}`);
  if (multipleOf !== undefined) rules.push(`a multiple of ${multipleOf}`);
  return rules;
}

function lengths(least, most, one, many = `${one}s`) {
  const named = (count) => counted(Number(count), one, many);
  if (least !== undefined && most !== undefined) return Number(least) === Number(most) ? named(least) : `${least} to ${named(most)}`;
  if (least !== undefined) return Number(least) > 0 ? `at least ${named(least)}` : null;
  return most === undefined ? null : `at most ${named(most)}`;
}

/** Return what seems wrong with a value that is set, null where nothing does. Only the server knows: this blocks nothing. */
export function doubtAbout(value, { kind, schema }) {
  if (kind === "number") return numberDoubt(value, schema);
  if (kind === "decimal") return Number.isNaN(Number(String(value))) ? "This does not look like a number." : boundsDoubt(value, schema);
  if (kind === "text" && typeof value === "string") return textDoubt(value, schema);
  if (kind === "list" && Array.isArray(value)) return sizeDoubt(value.length, schema.minItems, schema.maxItems, "item");
  return null;
}

function numberDoubt(value, schema) {
  if (!isNumber(value)) return ["NaN", "Infinity", "-Infinity"].includes(value) ? null : "This does not look like a number.";
  if (schema.type === "integer" && !Number.isInteger(Number(value))) return "A whole number is expected.";
  return boundsDoubt(value, schema);
}

function boundsDoubt(value, schema) {
  const number = Number(String(value));
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  if (minimum !== undefined && number < Number(minimum)) return `At least ${minimum} is expected.`;
  if (maximum !== undefined && number > Number(maximum)) return `At most ${maximum} is expected.`;
  if (exclusiveMinimum !== undefined && number <= Number(exclusiveMinimum)) return `More than ${exclusiveMinimum} is expected.`;
  if (exclusiveMaximum !== undefined && number >= Number(exclusiveMaximum)) return `Less than ${exclusiveMaximum} is expected.`;
  return null;
}

function textDoubt(value, schema) {
  if (schema.format === "password" && /^\*+$/.test(value)) return "Secrets are not shown again: enter it anew.";
  // Python counts characters, JavaScript halves of those beyond the basic plane.
  const size = value.length > 100_000 ? value.length : [...value].length;
  return sizeDoubt(size, schema.minLength, schema.maxLength, "character") ?? patternDoubt(value, schema.pattern);
}

function patternDoubt(value, pattern) {
  if (!pattern || value.length > 10_000) return null;
  try {
    return new RegExp(pattern, "u").test(value) ? null : "This does not fit the pattern.";
  } catch {
    return null; // Python's patterns have forms that JavaScript's do not know.
  }
}

function sizeDoubt(size, least, most, what) {
  if (least !== undefined && size < Number(least)) return `Expected: at least ${counted(Number(least), what)}.`;
  if (most !== undefined && size > Number(most)) return `Expected: at most ${counted(Number(most), what)}. There are ${formatted(size)}.`;
  return null;
}
