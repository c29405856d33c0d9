// JSON whose numbers stay as they are written: JavaScript's would make 9007199254740992 of 9007199254740993.

const DEEPEST = 500;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;
const WORD = /[^\s,:[\]{}"]+/y;

/** A number by its text, where JavaScript's own would be written otherwise: 1.0, -0, 1e5, 12345678901234567890. */
export class ExactNumber {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  valueOf() {
    return Number(this.text);
  }
}

/** Text that is not JSON: `message` says what is wrong, `line` and `column` where, from 1, `index` from 0. */
export class JsonProblem extends Error {
  constructor(problem, text, index) {
    const before = text.slice(0, index).split("\n");
    super(`Line ${before.length}, column ${before.at(-1).length + 1}: ${problem}`);
    this.line = before.length;
    this.column = before.at(-1).length + 1;
    this.index = index;
  }
}

/** Return the number that a text is in JSON, or null. */
export function exactNumber(text) {
  NUMBER.lastIndex = 0;
  if (NUMBER.exec(text)?.[0] !== text) return null;
  const number = Number(text);
  return String(number) === text ? number : new ExactNumber(text);
}

export const isNumber = (value) => typeof value === "number" || value instanceof ExactNumber;
export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof ExactNumber);

/** Parse JSON; numbers that JavaScript would change are ExactNumber. Throws JsonProblem. */
export function parseExact(text) {
  const reader = new Reader(text);
  reader.skip();
  const value = reader.value(0);
  if (reader.at < text.length) reader.fail("nothing may follow the value");
  return value;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  fail(problem, index = this.at) {
    throw new JsonProblem(problem, this.text, index);
  }

  skip() {
    SPACE.lastIndex = this.at;
    SPACE.exec(this.text);
    this.at = SPACE.lastIndex;
  }

  value(depth) {
    if (depth > DEEPEST) this.fail("this is nested too deep");
    const first = this.text[this.at];
    let value;
    if (first === "{") value = this.object(depth);
    else if (first === "[") value = this.list(depth);
    else if (first === '"') value = this.string();
    else value = this.atom();
    this.skip();
    return value;
  }

  object(depth) {
    const entries = new Map();
    this.open();
    while (!this.closes("}", entries.size > 0)) {
      if (this.text[this.at] !== '"') this.fail('expected a key in quotation marks (")');
      const begin = this.at;
      const key = this.string();
      if (entries.has(key)) this.fail("this key stands there twice", begin);
      this.skip();
      if (this.text[this.at] !== ":") this.fail("expected ':' after the key");
      this.open();
      entries.set(key, this.value(depth + 1));
    }
    return Object.fromEntries(entries);
  }

  list(depth) {
    const items = [];
    this.open();
    while (!this.closes("]", items.length > 0)) items.push(this.value(depth + 1));
    return items;
  }

  open() {
    this.at += 1;
    this.skip();
  }

  /** Return whether an object or a list ends here; else take the comma before its next member. */
  closes(bracket, hasMembers) {
    if (this.text[this.at] === bracket) {
      this.at += 1;
      return true;
    }
    if (this.at >= this.text.length) this.fail(`the text ends before '${bracket}'`);
    if (!hasMembers) return false;
    if (this.text[this.at] !== ",") this.fail(`expected ',' or '${bracket}'`);
    this.open();
    if (this.text[this.at] === bracket) this.fail(`there is nothing between ',' and '${bracket}'`);
    return false;
  }

  string() {
    const begin = this.at;
    let end = begin;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) this.fail("this text has no closing quotation mark", begin);
    } while (this.isEscaped(end));
    const token = this.text.slice(begin, end + 1);
    this.at = end + 1;
    try {
      return JSON.parse(token);
    } catch {
      const control = token.search(/[\u0000-\u001f]/);
      if (control >= 0) this.fail("in a text, a new line is written as \\n, a tab as \\t", begin + control);
      return this.fail("this text has a '\\' that begins no escape", begin);
    }
  }

  isEscaped(index) {
    let first = index;
    while (this.text[first - 1] === "\\") first -= 1;
    return (index - first) % 2 === 1;
  }

  atom() {
    WORD.lastIndex = this.at;
    const word = WORD.exec(this.text)?.[0];
    if (word === undefined) this.fail(this.at < this.text.length ? "expected a value" : "the text ends where a value is expected");
    const words = { true: true, false: false, null: null };
    const value = Object.hasOwn(words, word) ? words[word] : exactNumber(word);
    if (value === null && word !== "null") this.fail("this is no value: a text stands in quotation marks (\")");
    this.at += word.length;
    return value;
  }
}

/** Return JSON of a value that was parsed by `parseExact`, or of any other. `indent` is a number of spaces, 0 for one line. */
export function writeExact(value, indent = 0, inner = "") {
  if (value instanceof ExactNumber) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const isList = Array.isArray(value);
  const deeper = inner + " ".repeat(indent);
  const colon = indent === 0 ? ":" : ": ";
  const write = (part) => writeExact(part, indent, deeper);
  const members = isList
    ? value.map(write)
    : Object.keys(value).filter((key) => value[key] !== undefined).map((key) => JSON.stringify(key) + colon + write(value[key]));
  const [begin, end] = isList ? "[]" : "{}";
  if (members.length === 0) return begin + end;
  if (indent === 0) return begin + members.join(",") + end;
  return `${begin}\n${deeper}${members.join(`,\n${deeper}`)}\n${inner}${end}`;
}

/** Return an object with another value of a key; undefined removes it. */
export function withKey(object, key, value) {
  if (value !== undefined) return { ...object, [key]: value };
  const { [key]: removed, ...rest } = object;
  return rest;
}

/** Return whether two values are the same JSON. */
export const sameJson = (one, other) => one === other || writeExact(one) === writeExact(other);
