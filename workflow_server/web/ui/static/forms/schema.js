// JSON schemas as pydantic writes them (draft 2020-12), read for forms. Keywords that are unknown here are ignored.
import { isNumber, isObject, sameJson } from "./exact_json.js";

const DEEPEST = 40;
const TEXT = { type: "string", title: "Text" };
const JSON_BRANCH = { title: "JSON", asJson: true };
/** The choices for a value of any kind. */
const ANY = [JSON_BRANCH, TEXT, { type: "number", title: "Number" }, { type: "boolean", title: "Yes or no" }];

const known = new WeakMap();

/** Return a schema with its references followed and its `allOf` merged. `root` holds the definitions. */
export function resolve(schema, root) {
  if (!isObject(schema)) return {};
  if (known.has(schema)) return known.get(schema);
  let found = schema;
  for (let depth = 0; depth < DEEPEST && (found.$ref !== undefined || found.allOf !== undefined); depth += 1) {
    const { $ref, allOf = [], ...own } = found;
    const parts = [...($ref === undefined ? [] : [target($ref, root)]), ...allOf];
    found = [...parts, own].reduce(merged, {});
  }
  known.set(schema, found);
  return found;
}

function target(reference, root) {
  let found = root;
  for (const part of String(reference).replace(/^#\/?/, "").split("/").filter(Boolean)) {
    found = found?.[decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return isObject(found) ? found : {};
}

function merged(one, other) {
  const both = { ...one, ...other };
  if (one.properties && other.properties) both.properties = { ...one.properties, ...other.properties };
  if (one.required && other.required) both.required = [...new Set([...one.required, ...other.required])];
  return both;
}

const isNull = (schema) => schema.type === "null" || ("const" in schema && schema.const === null);

/**
 * Return what kind of field a schema makes: `kind` is const, enum, text, number, decimal, boolean, date, time, date-time,
 * object, dict, list, tuple, union or json; `nullable` tells whether null is one of its values; `schema` is resolved, for
 * Optional[X] that of X; `branches` are the choices of a union.
 */
export function shapeOf(schema, root) {
  const whole = resolve(schema, root);
  const choices = whole.anyOf ?? whole.oneOf ?? (Array.isArray(whole.type) ? whole.type.map((type) => ({ ...whole, type })) : null);
  if (!choices) return { kind: kindOf(whole), schema: whole, nullable: isNull(whole), branches: isAny(whole) ? ANY : null };
  const all = choices.map((choice) => resolve(choice, root));
  const branches = all.filter((branch) => !isNull(branch));
  const nullable = branches.length < all.length;
  const { anyOf, oneOf, ...own } = whole;
  if (branches.length === 1) {
    const inner = shapeOf(branches[0], root);
    return { ...inner, schema: { ...inner.schema, ...without(own, "type") }, nullable: nullable || inner.nullable };
  }
  const types = branches.map((branch) => branch.type).sort().join();
  // Decimals are numbers or texts; a text keeps all of their digits.
  if (types === "number,string" && branches.some((branch) => branch.pattern)) {
    return { kind: "decimal", schema: { ...branches.find((branch) => branch.type === "number"), ...own }, nullable, branches: null };
  }
  return { kind: "union", schema: own, nullable, branches };
}

const without = (object, key) => {
  const { [key]: removed, ...rest } = object;
  return rest;
};

const FORMATS = new Set(["date", "time", "date-time"]);

function kindOf(schema) {
  if (schema.asJson) return "json";
  if ("const" in schema) return "const";
  if (Array.isArray(schema.enum)) return "enum";
  if (schema.type === "string") return FORMATS.has(schema.format) ? schema.format : "text";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "boolean") return "boolean";
  if (schema.type === "null") return "const";
  if (schema.type === "array" || schema.items || schema.prefixItems) return schema.prefixItems ? "tuple" : "list";
  if (schema.properties) return "object";
  if (schema.type === "object") return "dict";
  return "union";
}

const isAny = (schema) => kindOf(schema) === "union";

/** Return the value that a field begins with: its default, or the least that its kind has; undefined where it is not set. */
export function initial(schema, root, { required = true, depth = 0 } = {}) {
  const { kind, schema: own, nullable } = shapeOf(schema, root);
  if ("default" in own) return own.default;
  if (!required || depth > 8) return undefined;
  if (nullable) return null;
  if (kind === "const") return own.const ?? null;
  if (kind === "enum" && own.enum.length === 1) return own.enum[0];
  const next = (part) => initial(part, root, { depth: depth + 1 });
  if (kind === "object") return initialObject(own, root, depth);
  if (kind === "dict") return {};
  if (kind === "list") return Array.from({ length: Math.min(own.minItems ?? 0, 20) }, () => next(own.items) ?? null);
  if (kind === "tuple") return own.prefixItems.map((item) => next(item) ?? null);
  return undefined;
}

function initialObject(schema, root, depth) {
  const value = {};
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const part = initial(property, root, { required: (schema.required ?? []).includes(name), depth: depth + 1 });
    if (part !== undefined) value[name] = part;
  }
  return value;
}

/** Return how well a value fits a schema: -1 where it does not, 0 where anything does, more where more of it is described. */
export function fit(value, schema, root, depth = 0) {
  const { kind, schema: own, nullable, branches } = shapeOf(schema, root);
  if (value === null && nullable) return 1;
  if (depth > 4) return 0;
  if (kind === "const") return sameJson(value, own.const ?? null) ? 3 : -1;
  if (kind === "enum") return own.enum.some((one) => sameJson(one, value)) ? 2 : -1;
  if (kind === "union") return Math.max(...branches.map((branch) => fit(value, branch, root, depth + 1)));
  if (kind === "json") return 0;
  if (kind === "number") return isNumber(value) ? numberFit(value, own) : -1;
  if (kind === "decimal") return isNumber(value) || typeof value === "string" ? 1 : -1;
  if (kind === "boolean") return typeof value === "boolean" ? 1 : -1;
  if (kind === "list" || kind === "tuple") return Array.isArray(value) ? itemsFit(value, own, root, depth) : -1;
  if (kind === "object" || kind === "dict") return isObject(value) ? membersFit(value, own, root, depth) : -1;
  return typeof value === "string" ? 1 : -1;
}

function numberFit(value, schema) {
  if (schema.type !== "integer") return 1;
  return /^-?\d+$/.test(String(value)) ? 2 : -1;
}

function itemsFit(value, schema, root, depth) {
  if (value.length === 0) return 1;
  const item = schema.prefixItems?.[0] ?? schema.items;
  return item === undefined ? 1 : fit(value[0], item, root, depth + 1) < 0 ? -1 : 2;
}

function membersFit(value, schema, root, depth) {
  const properties = schema.properties ?? {};
  if ((schema.required ?? []).some((name) => !Object.hasOwn(value, name))) return -1;
  let points = 1;
  for (const [name, property] of Object.entries(properties)) {
    if (!Object.hasOwn(value, name)) continue;
    const own = fit(value[name], property, root, depth + 1);
    if (own < 0 && "const" in resolve(property, root)) return -1;
    points += own < 0 ? 0 : 1 + own;
  }
  return points;
}

/** Return the index of the branch that fits a value best; -1 where none does. */
export function bestBranch(value, branches, root) {
  const points = branches.map((branch) => fit(value, branch, root));
  const most = Math.max(...points);
  return most < 0 ? -1 : points.indexOf(most);
}

const KINDS = {
  text: "Text", number: "Number", decimal: "Number", boolean: "Yes or no", dict: "Entries", object: "Fields", list: "List", tuple: "List",
  json: "JSON", date: "Date", time: "Time", "date-time": "Date and time", enum: "Choice",
};

/** Return the name of a branch of a union. */
export function branchName(schema, root) {
  const { kind, schema: own } = shapeOf(schema, root);
  if (own.title) return own.title;
  if (kind === "const") return String(own.const);
  if (kind === "number") return own.type === "integer" ? "Whole number" : "Number";
  if (kind === "list" && own.items) return `List of ${branchName(own.items, root).toLowerCase()}`;
  return KINDS[kind] ?? "Value";
}

/** Return the title of a property where an author gave one; pydantic makes "Step Name" of step_name. */
export function titleOf(name, schema) {
  const own = schema.title;
  if (typeof own !== "string" || own.toLowerCase().replaceAll(" ", "") === name.toLowerCase().replaceAll("_", "")) return null;
  return own;
}
