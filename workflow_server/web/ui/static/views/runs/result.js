// A result in a phrase: of fields, which come as JSON that may be cut off, their names and values.

/** Return where the members of an object in JSON end: the places of the commas between them, and of its end. */
function endsOf(text) {
  const ends = [];
  let depth = 0;
  let isText = false;
  for (let at = 0; at < text.length; at += 1) {
    const one = text[at];
    if (isText && one === "\\") at += 1;
    else if (one === '"') isText = !isText;
    else if (isText) continue;
    else if (one === "{" || one === "[") depth += 1;
    else if (one === "}" || one === "]") depth -= 1;
    if (!isText && ((one === "," && depth === 1) || (one === "}" && depth === 0))) ends.push(at);
  }
  return ends;
}

/** Numbers stay as they are written: JavaScript cannot hold all of them. */
function valueInWords(text) {
  if (!/^["[{]/.test(text)) return text;
  const value = JSON.parse(text);
  if (Array.isArray(value)) return value.length === 1 ? "1 item" : `${value.length} items`;
  return typeof value === "object" ? `{ ${Object.keys(value).join(", ")} }` : value || "(empty text)";
}

const MEMBER = /^\s*("(?:[^"\\]|\\.)*")\s*:\s*(.*?)\s*$/s;

function memberInWords(text) {
  const [, name, value] = MEMBER.exec(text);
  return `${JSON.parse(name)} ${valueInWords(value)}`;
}

/** Return a member that was cut off in a phrase: its name, and what is there if it is a text. */
function cutInWords(text) {
  const [, name, value] = MEMBER.exec(text) ?? [];
  if (!value?.startsWith('"')) return "…";
  return `${JSON.parse(name)} ${value.slice(1).replace(/\\[nrt]/g, " ").replace(/\\(["\\/])/g, "$1")}`;
}

/** Return "posted 22 · total 6776.25 · rejected 2 items" for the fields of a result; any other text as it is. */
export function resultInWords(text) {
  if (!/^\{\s*"/.test(text)) return text;
  const ends = endsOf(text);
  try {
    const told = ends.map((end, index) => memberInWords(text.slice((ends[index - 1] ?? 0) + 1, end)));
    const rest = text.slice((ends.at(-1) ?? 0) + 1);
    if (rest !== "" && text[ends.at(-1)] === "}") return text;
    if (rest !== "") told.push(cutInWords(rest));
    return told.length === 1 && told[0] === "…" ? text : told.join(" · ");
  } catch {
    return text;
  }
}
