// The payload of the selected event: as a tree, as JSON, and all of it to copy.
import { Button, Copy, Failure } from "../../components/basics.js";
import { JsonTree } from "../../components/json_tree.js";
import { parseExact, writeExact } from "../../forms/exact_json.js";
import { bytes, duration, exact, number, toMs, visible } from "../../format.js";
import { html, useEffect, useRef, useState } from "../../lib.js";
import { isWhole, loadText } from "./events.js";
import { lineOf } from "./event_line.js";
import { Sentence, toneOf, wordOf } from "./sentences.js";

const AT_ONCE = 2_000_000; // Characters that are loaded and parsed without being asked for.
const EVERY = new Set(["DictLikeModel", "BaseModel"]); // Bases of every event.
const MOST_RAW = 200_000; // Characters of JSON that are drawn.

/** Load the payload of an event, once for each: { text, value, error, load }; `load` is there where it waits to be asked. */
function usePayload(id, event) {
  const [state, setState] = useState({ event: null });
  const controller = useRef(null);
  const load = async () => {
    controller.current?.abort();
    const mine = (controller.current = new AbortController());
    setState({ event, busy: true });
    try {
      const text = await loadText(id, event, mine.signal);
      if (!mine.signal.aborted) setState({ event, ...parsed(text) });
    } catch (error) {
      if (!mine.signal.aborted) setState({ event, error });
    }
  };
  useEffect(() => {
    if (isWhole(event) || event.size <= AT_ONCE) load();
    return () => controller.current?.abort();
  }, [event.sequence]);
  if (state.event?.sequence === event.sequence) return { ...state, load };
  return isWhole(event) ? parsed(event.text) : { load, waits: event.size > AT_ONCE };
}

function parsed(text) {
  try {
    return { text, value: parseExact(text) };
  } catch (error) {
    return { text, error: { detail: `The payload is not shown as a tree: ${error.message}` } };
  }
}

function pretty(text, value) {
  let shown = text;
  try {
    if (value !== undefined) shown = writeExact(value, 2);
  } catch {
    // It is nested too deeply for that.
  }
  return shown;
}

function Raw({ text, value }) {
  const shown = pretty(text.length > MOST_RAW * 4 ? text.slice(0, MOST_RAW) : text, text.length > MOST_RAW * 4 ? undefined : value);
  return html`<pre class="raw" tabindex="0" aria-label="Payload as JSON"><bdi>${visible(shown.slice(0, MOST_RAW))}</bdi></pre>
    ${shown.length > MOST_RAW && html`<p class="faint">
      The first ${number(MOST_RAW)} of ${number(shown.length)} characters. “Copy” copies all.</p>`}`;
}

/** `facts`: pairs of a name and what it says. */
function Facts({ facts }) {
  const draw = ([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`;
  return html`<dl class="facts-list">${facts.filter(Boolean).map(draw)}</dl>`;
}

const timeFacts = (ms, base) => [
  ms !== null && ["Time", html`<span class="num" title=${new Date(ms).toString()}>
    ${new Date(ms).toDateString().slice(4)} ${exact(ms)}</span>`],
  ms !== null && base !== null && ["Since the start", `+${duration((ms - base) / 1000)}`],
];

function Frame({ title, tone, onClose, onStep, actions, children }) {
  return html`<aside class="event-pane" aria-label="Selected event">
    <header><h3 class="tone ${tone}"><bdi>${title}</bdi></h3>
      <span class="actions">${actions}
        <${Button} small quiet aria-label="Previous event" onClick=${() => onStep(-1)}>↑</${Button}>
        <${Button} small quiet aria-label="Next event" onClick=${() => onStep(1)}>↓</${Button}>
        <${Button} small quiet aria-label="Close the event" onClick=${onClose}>×</${Button}></span></header>
    ${children}
  </aside>`;
}

export function EventPane({ id, event, base, onClose, onStep }) {
  const [isRaw, setRaw] = useState(false);
  const { text, value, error, busy, waits, load } = usePayload(id, event);
  const { kind } = event;
  const bases = (kind.types ?? []).filter((name) => !EVERY.has(name));
  const full = async () => text ?? loadText(id, event);
  const actions = html`<${Button} small quiet aria-pressed=${isRaw} onClick=${() => setRaw(!isRaw)}>JSON</${Button}>
    <${Copy} text=${full} label="Copy the payload">Copy</${Copy}>
    <${Copy} text=${async () => lineOf(event, await full())} label="Copy the whole event">Copy event</${Copy}>`;
  return html`<${Frame} title=${kind.type} tone=${kind.tone} onClose=${onClose} onStep=${onStep} actions=${actions}>
    <${Facts} facts=${[
      ...timeFacts(event.ms, base),
      ["Sequence", html`<span class="num">${event.sequence}</span>`],
      kind.qualified && ["Class", html`<bdi class="mono">${kind.qualified}</bdi>`],
      bases.length > 0 && ["Is a", html`<bdi>${bases.join(", ")}</bdi>`],
      ["Size", bytes(event.size)],
    ]} />
    <div class="payload-body">
      ${error && html`<${Failure} error=${error} onRetry=${text === undefined ? load : undefined} />`}
      ${waits && !busy && html`<p class="soft">This payload has ${number(event.size)} characters. ${" "}
        <${Button} small onClick=${load}>Load it</${Button}></p>`}
      ${(busy || (text === undefined && !waits && !error)) && html`<p class="soft" role="status">Loading the payload…</p>`}
      ${text !== undefined && (isRaw || value === undefined ? html`<${Raw} text=${text} value=${value} />`
                                                             : html`<${JsonTree} key=${event.sequence} value=${value} open=${2} />`)}
    </div>
  </${Frame}>`;
}

export function MarkPane({ mark, base, context, onClose, onStep }) {
  const { entry } = mark;
  return html`<${Frame} title=${wordOf(entry)} tone=${toneOf(entry)} onClose=${onClose} onStep=${onStep}
      actions=${html`<${Copy} text=${JSON.stringify(entry, null, 2)} label="Copy the entry">Copy</${Copy}>`}>
    <${Facts} facts=${[...timeFacts(toMs(entry.time), base), entry.by && ["By", html`<bdi>${entry.by}</bdi>`]]} />
    <div class="payload-body"><p><${Sentence} entry=${entry} context=${context(entry)} />.</p>
      ${entry.traceback && html`<pre class="raw" tabindex="0" aria-label="Traceback"><bdi>${entry.traceback}</bdi></pre>`}</div>
  </${Frame}>`;
}
