// The top of a run: which one it is, and how it stands.
import { Id, Tags, Time } from "../../components/basics.js";
import { duration, number, toMs } from "../../format.js";
import { html, useMemo } from "../../lib.js";
import { href } from "../../router.js";
import { hasEnded, statusOf } from "../../status.js";
import { useNow, useStore } from "../../store.js";
import { Actions } from "./actions.js";
import { ExportMenu } from "./export.js";

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
  const ofWorkflow = href(["runs"], { workflow: handler.workflow_name });
  return html`<header class="run-head">
    <nav class="crumbs" aria-label="Breadcrumb"><a class="soft" href=${href(["runs"])}>Runs</a> <span class="faint">/</span>${" "}
      <a class="soft" href=${ofWorkflow}><bdi>${handler.workflow_name}</bdi></a> <span class="faint">/</span></nav>
    <div class="run-title"><h1><bdi>${handler.workflow_name}</bdi></h1>
      <span role="status"><span class="status ${kind}">${word}</span></span><${Id} id=${handler.handler_id} label="handler id" />
      <div class="run-actions"><${ExportMenu} run=${run} /><${Actions} run=${run} /></div></div>
    <${Facts} run=${run} handler=${handler} />
  </header>`;
}

/** Count what has happened to a run. */
function counted(entries) {
  const counts = { restarts: 0, events: 0, failures: 0, retries: 0 };
  for (const { kind, reason } of entries) {
    if (kind === "event_published") counts.events += 1;
    else if (kind === "attempt_failed") counts.failures += 1;
    else if (kind === "retried") counts.retries += 1;
    else if (kind === "resumed" && reason !== "release") counts.restarts += 1;
  }
  return counts;
}

const Fact = ({ name, title, children }) => html`<div title=${title}><dt>${name}</dt> <dd class="num">${children}</dd></div>`;

function Facts({ run, handler }) {
  const entries = useStore(run.store, (value) => value.entries);
  const more = useStore(run.store, (value) => value.complete) ? "" : "+";
  const { restarts, events, failures, retries } = useMemo(() => counted(entries), [entries]);
  return html`<dl class="facts">
    <${Fact} name="Started"><${Time} iso=${handler.started_at} seconds />${" "}
      <span class="faint">(<${Time} iso=${handler.started_at} relative />)</span></${Fact}>
    <${Fact} name=${hasEnded(handler) ? "Took" : "Alive"}><${Lasted} handler=${handler} /></${Fact}>
    <${Fact} name="Restarts survived">${number(restarts)}${restarts > 0 && more}</${Fact}>
    <${Fact} name="Events" title="Published by the run">${number(events)}${more}</${Fact}>
    ${failures > 0 && html`<${Fact} name="Failed attempts">${number(failures)}${more}</${Fact}>`}
    ${retries > 0 && html`<${Fact} name="Retried">${number(retries)}${retries === 1 ? " time" : " times"}</${Fact}>`}
    ${handler.code_version && html`<${Fact} name="Code"><span class="mono">${handler.code_version}</span></${Fact}>`}
    ${handler.tags.length > 0 && html`<${Fact} name="Tags"><${Tags} tags=${handler.tags} /></${Fact}>`}
  </dl>`;
}

function Lasted({ handler }) {
  const now = useNow();
  return duration(((toMs(handler.completed_at) ?? now) - toMs(handler.started_at)) / 1000);
}
