// Where the parts of a JSON text lie, so that they can be copied as they were written: numbers that JavaScript cannot
// hold, and the order of keys, stay what they are. The text has to be valid JSON.

const SPACE = /[ \t\n\r]*/y;
const SCALAR = /[^,\]}\s]+/y;

function skipSpace(text, at) {
  SPACE.lastIndex = at;
  SPACE.test(text);
  return SPACE.lastIndex;
}

function endOfString(text, at) {
  for (let end = text.indexOf('"', at + 1); ; end = text.indexOf('"', end + 1)) {
    if (end < 0) throw new SyntaxError("The JSON text is not whole.");
    let slashes = 0;
    while (text[end - 1 - slashes] === "\\") slashes += 1;
    if (slashes % 2 === 0) return end + 1;
  }
}

const NEXT = /["[\]{}]/g;

/** Return the end of the value that begins at a place. */
function endOfValue(text, at) {
  if (text[at] === '"') return endOfString(text, at);
  if (text[at] !== "{" && text[at] !== "[") {
    SCALAR.lastIndex = at;
    SCALAR.test(text);
    return SCALAR.lastIndex;
  }
  let depth = 0;
  NEXT.lastIndex = at;
  for (let found = NEXT.exec(text); found !== null; found = NEXT.exec(text)) {
    if (found[0] === '"') NEXT.lastIndex = endOfString(text, found.index);
    else depth += found[0] === "{" || found[0] === "[" ? 1 : -1;
    if (depth === 0) return found.index + 1;
  }
  throw new SyntaxError("The JSON text is not whole.");
}

/** Return the items of a JSON list, each as its text. */
export function listItems(text) {
  const items = [];
  for (let at = skipSpace(text, text.indexOf("[") + 1); text[at] !== "]"; ) {
    const end = endOfValue(text, at);
    items.push(text.slice(at, end));
    at = skipSpace(text, end);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  return items;
}

/** Return the members of a JSON object: [name, text of the value] in their order. */
export function objectMembers(text) {
  const members = [];
  for (let at = skipSpace(text, text.indexOf("{") + 1); text[at] !== "}"; ) {
    const named = endOfString(text, at);
    const from = skipSpace(text, text.indexOf(":", named) + 1);
    const end = endOfValue(text, from);
    members.push([JSON.parse(text.slice(at, named)), text.slice(from, end)]);
    at = skipSpace(text, end);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  return members;
}
