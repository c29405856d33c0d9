// The whole question of a wait: the event that was published with it has more than its prompt.
import { JsonTree } from "../../components/json_tree.js";
import { useLoaded } from "../../hooks.js";
import { html } from "../../lib.js";

const LOOKED_AT = 20; // Entries of the history, newest first.
const MOST = 100_000; // Characters of a text that are drawn.
const PROMPTS = ["prefix", "question", "message", "prompt", "msg"];

const flat = (text) => String(text).replace(/\s+/g, " ").trim();

/** Return the fields of the event that asked, null where it is not among the entries. */
function questionOf(entries, wait, isOnly) {
  const published = entries.filter(({ kind, value }) => kind === "event_published" && value !== null && typeof value === "object");
  const start = wait.prompt ? flat(wait.prompt).slice(0, 200).replace(/…$/, "") : null;
  const says = (part) => typeof part === "string" && flat(part).startsWith(start);
  const found = start !== null && published.find(({ value }) => Object.values(value).some(says));
  return (found || (isOnly && published.find(({ event }) => event === wait.question)) || null)?.value ?? null;
}

export function Question({ run, wait, isOnly }) {
  const { value } = useLoaded(["handlers", run.id, "history"], { order: "desc", limit: LOOKED_AT, include: "value" });
  const fields = value && questionOf(value.history, wait, isOnly);
  if (!fields) return null;
  const parts = Object.entries(fields).filter(([name, part]) => part !== null && part !== "" && !isShown(name, part, wait));
  if (parts.length === 0) return null;
  return html`<dl class="ask-question" tabindex="0" aria-label="The question">${parts.map(([name, part]) => html`<div key=${name}>
    <dt><bdi>${name}</bdi></dt><dd>${typeof part === "object" ? html`<${JsonTree} value=${part} open=${2} />`
      : html`<bdi class="ask-text">${String(part).slice(0, MOST)}</bdi>`}</dd></div>`)}</dl>`;
}

/** Whether the prompt says all of a field already. */
const isShown = (name, part, wait) => PROMPTS.includes(name) && wait.prompt && flat(part) === flat(wait.prompt);
