// The state of a run: what its steps keep in ctx.store, as its owner may see it.
import { Button, Copy, Empty, Failure, Panel, Time } from "../../components/basics.js";
import { JsonTree } from "../../components/json_tree.js";
import { count } from "../../format.js";
import { useLoaded } from "../../hooks.js";
import { html } from "../../lib.js";
import { useMay, useStore } from "../../store.js";

const HIDDEN = "(hidden)";
const MOST = 100_000; // Values that are looked at.

/** Return how many values are hidden, because their keys name secrets. */
function countHidden(state) {
  const left = [state];
  let hidden = 0;
  for (let looked = 0; left.length > 0 && looked < MOST; looked += 1) {
    const value = left.pop();
    if (value === HIDDEN) hidden += 1;
    else if (value !== null && typeof value === "object") for (const part of Object.values(value)) left.push(part);
  }
  return hidden;
}

export function State({ run }) {
  const mayRun = useMay("run");
  const handler = useStore(run.store, (value) => value.handler);
  if (!mayRun) {
    return html`<${Panel} title="State"><${Empty} title="Not for this token">
      <p>The state of a run is shown to tokens with the role “run” or “full”.</p></${Empty}></${Panel}>`;
  }
  return html`<${Loaded} id=${run.id ?? handler?.handler_id ?? null} at=${handler?.updated_at ?? null} />`;
}

function Loaded({ id, at }) {
  const { value, error, loading, reload } = useLoaded(id === null ? null : ["handlers", id, "state"]);
  const isOld = value !== null && at !== null && Date.parse(at) > Date.parse(value.as_of) + 1000;
  const text = () => JSON.stringify(value.state, null, 2);
  const actions = html`${value && html`<${Copy} text=${text} label="Copy the state as JSON">Copy</${Copy}>`}
    <${Button} small busy=${loading} onClick=${reload}>Reload</${Button}>`;
  const hint = value && html`as of <${Time} iso=${value.as_of} seconds /> · <${Time} iso=${value.as_of} relative />${
    isOld && "; the run has gone on since"}`;
  return html`<${Panel} title="State" class="state-view" hint=${hint} actions=${actions}>
    ${error && html`<${Refused} error=${error} reload=${reload} />`}
    ${!error && value === null && html`<p class="inner soft" role="status">Loading…</p>`}
    ${!error && value !== null && html`<${Tree} value=${value} />`}
  </${Panel}>`;
}

function Refused({ error, reload }) {
  if (error.status !== 409 && error.status !== 404) return html`<div class="inner"><${Failure} error=${error} onRetry=${reload} /></div>`;
  return html`<${Empty} title="No state"><p><bdi>${error.detail}</bdi></p></${Empty}>`;
}

function Tree({ value }) {
  const { state, kind, truncated } = value;
  const hidden = countHidden(state);
  const isEmpty = state !== null && typeof state === "object" && Object.keys(state).length === 0;
  return html`<dl class="facts-list">
      <div><dt>Kind</dt><dd><bdi class="mono">${kind}</bdi></dd></div>
      ${truncated && html`<div><dt>Cut</dt><dd>long texts and what is past 1 MB are left out</dd></div>`}
      ${hidden > 0 && html`<div><dt>Hidden</dt><dd>${count(hidden, "value")} whose keys name secrets</dd></div>`}
    </dl>
    ${isEmpty ? html`<${Empty} title="The state is empty"><p>Steps keep values over restarts with <code>ctx.store</code>.</p></${Empty}>`
              : html`<div class="payload-body"><${JsonTree} value=${state} open=${2} /></div>`}`;
}
