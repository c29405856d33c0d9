// Text fields take text files: dropped on them, or chosen.
import { Button } from "../components/basics.js";
import { bytes } from "../format.js";
import { html, useRef, useState } from "../lib.js";

const LARGEST = 64_000_000; // bytes
const SHORT = 80; // Fields of at most so many characters are no place for a file.
const LINES = new Set(["uuid", "email", "uri", "duration", "password"]);

/** Return whether a field of a schema is a line and not a text. */
export const isLine = ({ format, pattern, maxLength }) =>
  LINES.has(format) || pattern !== undefined || Number(maxLength ?? Infinity) <= SHORT;

/** Return the text of a file. Throws an Error that says why it has none. */
async function textOf(file) {
  if (file.size > LARGEST) throw new Error(`${file.name} has ${bytes(file.size)}: at most ${bytes(LARGEST)} can be read here.`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} is not a text file in UTF-8.`);
  }
}

/** Return what a field needs to take files: attributes for its `box`, a `button`, and what was `said`. Nothing, if it is no text. */
export function useFile(onText, label, shape) {
  const [isOver, setOver] = useState(false);
  const [said, setSaid] = useState(null);
  const chooser = useRef(null);
  if (shape.kind !== "text" || isLine(shape.schema)) return {};
  const take = async (files) => {
    try {
      const text = await textOf(files[0]);
      setSaid({ text: `From ${files[0].name}, ${bytes(files[0].size)}`, kind: "field-hint" });
      onText(text);
    } catch (error) {
      setSaid({ text: error.message, kind: "field-error" });
    }
  };
  const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
  const over = (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    setOver(true);
  };
  const drop = (event) => {
    setOver(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    take(event.dataTransfer.files);
  };
  const choose = (event) => {
    if (event.target.files.length > 0) take([...event.target.files]);
    event.target.value = "";
  };
  return {
    box: { onDragOver: over, onDragLeave: () => setOver(false), onDrop: drop, class: `field ${isOver ? "dropping" : ""}` },
    button: html`<input type="file" hidden ref=${chooser} onChange=${choose} aria-label=${`File for ${label}`} />
      <${Button} quiet small onClick=${() => chooser.current.click()} aria-label=${`Take ${label} from a text file`}
        title="Or drop a text file on the field">From a file…</${Button}>`,
    said: said && html`<p class=${said.kind} role="status"><bdi>${said.text}</bdi></p>`,
  };
}
