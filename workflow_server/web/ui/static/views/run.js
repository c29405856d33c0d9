// One run: its head, what it asks, and three views of the same time.
import { Empty, Failure } from "../components/basics.js";
import { useTitle } from "../hooks.js";
import { html } from "../lib.js";
import { href } from "../router.js";
import { useStore } from "../store.js";
import { Answer } from "./run/answer.js";
import { Head, Outcome } from "./run/head.js";
import { useRun } from "./run/model_minimal.js";

export function RunView({ id, query }) {
  const run = useRun(id);
  const { handler, missing, error } = useStore(run.store);
  useTitle(handler ? `${handler.workflow_name} ${id}` : id);
  if (missing) return html`<${Missing} id=${id} />`;
  if (!handler) return error ? html`<h1 class="mono">${id}</h1><${Failure} error=${error} onRetry=${run.reload} />` : html`<p class="soft">Loading the run…</p>`;
  return html`<${Head} run=${run} />
    <${Failure} error=${error} onRetry=${run.reload} />
    <${Answer} run=${run} />
    <${Outcome} run=${run} />`;
}

function Missing({ id }) {
  return html`<${Empty} title="There is no such run"><p><span class="mono">${id}</span> was purged, or has never been on this server.</p>
    <p><a class="btn" href=${href(["runs"])}>See the runs</a></p></${Empty}>`;
}
