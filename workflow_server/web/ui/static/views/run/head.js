// The top of a run: which one it is, how it stands, and how it ended.
import { get } from "../../api.js";
import { Copy, Id, Notice, Panel, Tags, Time } from "../../components/basics.js";
import { JsonTree } from "../../components/json_tree.js";
import { parseExact, writeExact } from "../../forms/exact_json.js";
import { duration, number, shortName, toMs } from "../../format.js";
import { html } from "../../lib.js";
import { href } from "../../router.js";
import { hasEnded, statusOf } from "../../status.js";
import { useNow, useStore } from "../../store.js";
import { Actions } from "./actions.js";

/** The status in words: what a waiting run waits for is said at once. */
function wordOf(handler) {
  const { word, kind } = statusOf(handler);
  const events = [...new Set((handler.waiting_for ?? []).map(({ event }) => event))];
  if (word !== "waiting") return { word, kind };
  return { kind, word: events.length === 1 ? `waits for ${events[0]}` : `waits for ${events.length} events` };
}

export function Head({ run }) {
  const handler = useStore(run.store, (value) => value.handler);
  const { word, kind } = wordOf(handler);
  return html`<header class="run-head">
    <nav class="crumbs" aria-label="Breadcrumb"><a class="soft" href=${href(["runs"])}>Runs</a> <span class="faint">/</span>
      ${" "}<a class="soft" href=${href(["runs"], { workflow_name: handler.workflow_name })}><bdi>${handler.workflow_name}</bdi></a> <span class="faint">/</span></nav>
    <div class="run-title"><h1><bdi>${handler.workflow_name}</bdi></h1>
      <span role="status"><span class="status ${kind}">${word}</span></span><${Id} id=${handler.handler_id} label="handler id" />
      <${Actions} run=${run} /></div>
    <${Facts} run=${run} handler=${handler} />
  </header>`;
}

const Fact = ({ name, title, children }) => html`<div title=${title}><dt>${name}</dt> <dd class="num">${children}</dd></div>`;

function Facts({ run, handler }) {
  const { entries, complete } = useStore(run.store);
  const now = useNow();
  const begin = toMs(handler.started_at);
  const end = toMs(handler.completed_at) ?? now;
  const of = (kind, test = () => true) => entries.filter((entry) => entry.kind === kind && test(entry)).length;
  const restarts = of("resumed", ({ reason }) => reason !== "release");
  const failures = of("attempt_failed");
  const retries = of("retried");
  const more = complete ? "" : "+";
  return html`<dl class="facts">
    <${Fact} name="Started"><${Time} iso=${handler.started_at} seconds /> <span class="faint">(<${Time} iso=${handler.started_at} relative />)</span></${Fact}>
    <${Fact} name=${hasEnded(handler) ? "Took" : "Alive"}>${duration((end - begin) / 1000)}</${Fact}>
    <${Fact} name="Restarts survived">${number(restarts)}${restarts > 0 && more}</${Fact}>
    <${Fact} name="Events" title="Published by the run">${number(of("event_published"))}${more}</${Fact}>
    ${failures > 0 && html`<${Fact} name="Failed attempts">${number(failures)}${more}</${Fact}>`}
    ${retries > 0 && html`<${Fact} name="Retried">${number(retries)}${retries === 1 ? " time" : " times"}</${Fact}>`}
    ${handler.code_version && html`<${Fact} name="Code"><span class="mono">${handler.code_version}</span></${Fact}>`}
    ${handler.tags.length > 0 && html`<${Fact} name="Tags"><${Tags} tags=${handler.tags} /></${Fact}>`}
  </dl>`;
}

/** How a run ended, or why it makes no progress. */
export function Outcome({ run }) {
  const { handler, entries } = useStore(run.store);
  if (handler.status === "completed") return html`<${Result} handler=${handler} />`;
  if (hasEnded(handler)) return html`<${Failed} handler=${handler} entries=${entries} />`;
  if (handler.suspended) return html`<${Suspended} handler=${handler} />`;
  if (handler.stalled) {
    return html`<${Notice} kind="warning"><b>Nothing can happen in this run any more.</b> No step runs, and nothing is waited for: a step may have
      returned nothing. Send it an event that a step accepts, or cancel it.</${Notice}>`;
  }
  return null;
}

function Suspended({ handler }) {
  const isQueued = statusOf(handler).word === "queued" || /queue/i.test(handler.suspended);
  return html`<${Notice} kind="warning"><b>${isQueued ? "This run waits for its turn." : "This run makes no progress."}</b>
    ${" "}<bdi>${handler.suspended}</bdi>
    ${" "}${isQueued ? "It goes on by itself." : "Nothing is lost: serve the workflow with code that fits, and retry."}</${Notice}>`;
}

/** The value of a plain StopEvent is its result; that of any other are its fields. */
function shownOf({ value }) {
  const names = Object.keys(value ?? {});
  return names.length === 1 && names[0] === "result" ? value.result : value;
}

function Result({ handler }) {
  if (!handler.result) return null;
  const shown = shownOf(handler.result);
  const exact = async () => writeExact(shownOf((await get(["handlers", handler.handler_id], {}, { parse: parseExact })).result), 2);
  const copy = html`<${Copy} text=${typeof shown === "string" ? shown : exact} label="Copy the result">Copy</${Copy}>`;
  return html`<${Panel} title="Result" hint=${shortName(handler.result.type)} actions=${copy} class="outcome">
    <div class="inner">${typeof shown === "string"
      ? html`<bdi class="outcome-text">${shown.slice(0, 100_000)}</bdi>${shown.length > 100_000 && html`<p class="soft">Cut here. Copy has all ${number(shown.length)} characters.</p>`}`
      : html`<${JsonTree} value=${shown} open=${2} />`}</div></${Panel}>`;
}

/** Return the last failure that the history has: its step, and a traceback with the place in the code. */
function lastFailure(entries) {
  const index = entries.findLastIndex(({ kind }) => kind === "attempt_failed");
  if (index < 0) return null;
  const failure = entries[index];
  // A traceback that the attempt before had as well is told once.
  const traceback = failure.traceback ?? entries.slice(0, index).findLast((entry) => entry.step === failure.step && entry.traceback)?.traceback ?? null;
  const places = [...(traceback ?? "").matchAll(/^ *File "(.+)", line (\d+)/gm)];
  const [, file, line] = places.at(-1) ?? [];
  return { step: failure.step, attempt: failure.attempt, traceback, place: file ? `${file.split(/[\\/]/).pop()}:${line}` : null, file };
}

function Failed({ handler, entries }) {
  if (handler.status === "cancelled") return html`<${Notice} kind="info">This run was cancelled. ${handler.error && html`<bdi>${handler.error}</bdi>`}</${Notice}>`;
  const failure = lastFailure(entries);
  return html`<section class="panel outcome failed" aria-label="Error">
    <div class="inner"><p class="outcome-error"><bdi>${handler.error ?? "It failed."}</bdi></p>
      ${failure && html`<p class="soft">Step <b class="mono"><bdi>${failure.step}</bdi></b>${failure.place && html` at <bdi class="mono" title=${failure.file}>${failure.place}</bdi>`}${failure.attempt > 1 && `, attempt ${failure.attempt}`}</p>`}
      ${failure?.traceback && html`<details><summary>Traceback</summary><pre tabindex="0"><bdi>${failure.traceback}</bdi></pre>
        <${Copy} text=${failure.traceback}>Copy the traceback</${Copy}></details>`}</div></section>`;
}
