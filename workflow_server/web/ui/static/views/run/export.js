// A run as files, and as commands that fetch the same: written page by page, as `workflow-server runs export` does.
import { ANY_STATUS, curl, get, getText, lines } from "../../api.js";
import { announce, Button, copyText, Failure } from "../../components/basics.js";
import { Menu } from "../../components/menu.js";
import { count } from "../../format.js";
import { html, useRef, useState } from "../../lib.js";
import { useStore } from "../../store.js";
import { kindOf, readLine } from "./event_line.js";
import { firstEvent } from "./events.js";
import { lastBefore } from "./log_rows.js";
import { listItems, objectMembers } from "./json_spans.js";

const PAGE = 200; // Entries that are read at once.
const PART = 1_000_000; // Characters until what is written becomes part of the file, which the browser may keep on disk.
// As the command does: what could steer a terminal, or hide what a text says, is escaped. The JSON says the same.
const UNPRINTABLE = /[\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;

const escaped = (text) => text.replace(UNPRINTABLE, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Collect lines to a file. */
function createFile(onLine) {
  const parts = [];
  let open = [];
  let size = 0;
  let written = 0;
  const close = () => {
    parts.push(new Blob(open));
    open = [];
    size = 0;
  };
  return {
    write(line) {
      open.push(line, "\n");
      size += line.length;
      written += 1;
      if (size > PART) close();
      onLine(written);
    },
    blob: (type) => {
      close();
      return new Blob(parts, { type });
    },
  };
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Yield the texts of the entries of a history, page by page. */
async function* historyTexts(id, signal) {
  let cursor = "";
  while (cursor !== null) {
    const text = await getText(["handlers", id, "history"], { include: "value", limit: PAGE, cursor }, { signal });
    const page = new Map(objectMembers(text));
    yield* listItems(page.get("history"));
    cursor = JSON.parse(page.get("next_cursor"));
  }
}

/** Return a line of an export: the entry with the ids of the handler before it, and its requirements as a text. */
function exportLine(head, members) {
  const told = members.map(([name, text]) => {
    const isText = name === "requirements" && text !== "null";
    return `${JSON.stringify(name)}:${isText ? JSON.stringify(text) : text}`;
  });
  return escaped(`{${[...head, ...told].join(",")}}`);
}

async function writeHistory(id, file, signal) {
  const text = await getText(["handlers", id], ANY_STATUS, { signal });
  const handler = new Map(objectMembers(text));
  const head = ["handler_id", "workflow_name"].map((name) => `"${name}":${handler.get(name)}`);
  let isFirst = true;
  for await (const entry of historyTexts(id, signal)) {
    const members = objectMembers(entry);
    if (isFirst) {
      const about = { time: handler.get("started_at"), run_id: handler.get("run_id"), kind: '"handler"', value: text };
      file.write(exportLine(head, members.map(([name]) => [name, about[name] ?? "null"])));
    }
    isFirst = false;
    file.write(exportLine(head, members));
  }
}

/** Write the events from the first to the last that is there now. A stream of a run that goes on has no end of its own. */
async function writeEvents(id, file, signal) {
  const { history } = await get(["handlers", id, "history"], { order: "desc", limit: 100 }, { signal });
  const last = Math.max(-1, ...history.map(lastBefore));
  if (last < 0) return;
  const mine = new AbortController();
  signal.addEventListener("abort", () => mine.abort());
  const [first, { run_id: runId }] = await Promise.all([firstEvent(id, mine.signal), get(["handlers", id], ANY_STATUS, { signal })]);
  const hasEarlier = first.runId !== runId;
  if (hasEarlier && first.line && !first.internal) file.write(first.line);
  try {
    for await (const found of lines(["events", id], { after_sequence: hasEarlier ? 0 : -1, include_internal: true }, mine.signal)) {
      for (const line of found ?? []) {
        const { sequence, about } = readLine(line);
        if (!kindOf(about).internal) file.write(line.trimStart());
        if (sequence >= last) return;
      }
    }
  } finally {
    mine.abort();
  }
}

async function writeHandler(id, file, signal) {
  file.write(await getText(["handlers", id], ANY_STATUS, { signal }));
}

const JSON_LINES = "application/x-ndjson";
const FORMS = [
  { title: "Events", hint: "JSON Lines, as they were streamed", name: "events.jsonl", type: JSON_LINES, write: writeEvents,
    curl: (id) => curl("GET", ["events", id], { query: { after_sequence: -1, sse: false } }) },
  { title: "History", hint: "JSON Lines with the values of events, as “runs export” writes it", name: "history.jsonl",
    type: JSON_LINES, write: writeHistory,
    curl: (id) => curl("GET", ["handlers", id, "history"], { query: { include: "value", limit: 500 } }) },
  { title: "Handler", hint: "JSON, with its result", name: "handler.json", type: "application/json", write: writeHandler,
    curl: (id) => curl("GET", ["handlers", id]) },
];

export function ExportMenu({ run }) {
  const handler = useStore(run.store, (value) => value.handler);
  const [state, setState] = useState({ busy: null, lines: 0, error: null });
  const controller = useRef(null);
  if (!handler) return null;
  const id = handler.handler_id;
  const start = async (form) => {
    controller.current?.abort();
    const mine = (controller.current = new AbortController());
    let told = 0;
    const file = createFile((written) => {
      if (Date.now() - told < 200) return;
      told = Date.now();
      setState({ busy: form, lines: written, error: null });
    });
    setState({ busy: form, lines: 0, error: null });
    try {
      await form.write(id, file, mine.signal);
      save(file.blob(form.type), `${handler.workflow_name}-${id}-${form.name}`.replace(/[^\w.~-]+/g, "_"));
      announce(`${form.title} saved`);
      setState({ busy: null, lines: 0, error: null });
    } catch (error) {
      setState({ busy: null, lines: 0, error: mine.signal.aborted ? null : error });
    }
  };
  return html`<${Menu} label="Export" title="Export" small=${false}>
    ${FORMS.map((form) => html`<${Form} key=${form.name} form=${form} id=${id} state=${state}
      onSave=${() => start(form)} onStop=${() => controller.current?.abort()} />`)}
    <${Failure} error=${state.error} onClose=${() => setState({ ...state, error: null })} />
  </${Menu}>`;
}

function Form({ form, id, state, onSave, onStop }) {
  const [said, setSaid] = useState(null);
  const copy = async () => {
    await copyText(form.curl(id)).then(() => setSaid("Copied"), () => setSaid("Not copied"));
    setTimeout(() => setSaid(null), 1500);
  };
  const isBusy = state.busy === form;
  const what = form.title.toLowerCase();
  const hint = isBusy && state.lines > 0 ? `${count(state.lines, "line")}…` : form.hint;
  return html`<div class="export-form"><span><b>${form.title}</b><span class="soft">${hint}</span></span>
    ${isBusy ? html`<${Button} small onClick=${onStop} aria-label=${`Stop saving the ${what}`}>Stop</${Button}>`
             : html`<${Button} small disabled=${state.busy !== null} onClick=${onSave} aria-label=${`Save the ${what}`}>Save</${Button}>`}
    <${Button} small quiet onClick=${copy} aria-label=${`Copy ${what} as curl`}>
      <span aria-live="polite">${said ?? "curl"}</span></${Button}></div>`;
}
