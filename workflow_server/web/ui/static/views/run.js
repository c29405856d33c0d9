// One run: its head, what it asks, and views of the same time.
import { Empty, Failure } from "../components/basics.js";
import { useTitle } from "../hooks.js";
import { lazy } from "../lazy.js";
import { html, useRef } from "../lib.js";
import { href } from "../router.js";
import { useStore } from "../store.js";
import { RunGraph } from "./run/graph.js";
import { Head } from "./run/head.js";
import { EventLog } from "./run/log.js";
import { useRun } from "./run/model.js";
import { Outcome } from "./run/outcome.js";
import { Timeline } from "./run/timeline.js";

// Not every run waits for an answer, and not every reader looks at the rest.
const Answer = lazy(() => import("./run/answer.js"), "Answer");
const History = lazy(() => import("./run/history.js"), "History");
const State = lazy(() => import("./run/state.js"), "State");

const TABS = [["log", "Log", EventLog], ["history", "History", History], ["state", "State", State]];

export function RunView({ id, query }) {
  const run = useRun(id);
  const handler = useStore(run.store, (value) => value.handler);
  const missing = useStore(run.store, (value) => value.missing);
  const error = useStore(run.store, (value) => value.error);
  // What became of an answer is told when the run has ended, too.
  const wasRunning = useRef(false);
  wasRunning.current ||= handler?.status === "running";
  useTitle(handler ? `${handler.workflow_name} ${id}` : id);
  if (missing) return html`<${Missing} id=${id} />`;
  if (!handler) {
    return html`<h1 class="mono">${id}</h1>${error ? html`<${Failure} error=${error} onRetry=${run.reload} />`
                                                   : html`<p class="soft">Loading the run…</p>`}`;
  }
  return html`<div class="run"><${Head} run=${run} />
    <${Failure} error=${error} onRetry=${run.reload} />
    ${wasRunning.current && html`<${Answer} run=${run} />`}
    <${Outcome} run=${run} />
    <div class="run-grid"><${RunGraph} run=${run} /><${Timeline} run=${run} /></div>
    <${Tabs} run=${run} query=${query} /></div>`;
}

/** The log, the history and the state: one at a time, which the hash says. */
function Tabs({ run, query }) {
  const [name, , View] = TABS.find(([key]) => key === query.get("view")) ?? TABS[0];
  const at = query.getAll("at");
  const link = (key) => href(["runs", run.id], { view: key === "log" ? null : key, at });
  return html`<nav class="tabs" aria-label="Views of the run">${TABS.map(([key, title]) => html`
      <a key=${key} href=${link(key)} aria-current=${key === name ? "page" : undefined}>${title}</a>`)}</nav>
    <${View} key=${name} run=${run} />`;
}

function Missing({ id }) {
  return html`<${Empty} title="There is no such run"><p><span class="mono">${id}</span> was purged, or has never been on this server.</p>
    <p><a class="btn" href=${href(["runs"])}>See the runs</a></p></${Empty}>`;
}
