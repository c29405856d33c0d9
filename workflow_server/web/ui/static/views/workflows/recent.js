// The latest runs of a workflow.
import { useChanges } from "../../changes.js";
import { Failure, Panel, Status, Time } from "../../components/basics.js";
import { useLoaded, useThrottled } from "../../hooks.js";
import { html } from "../../lib.js";
import { href } from "../../router.js";
import { Now } from "../runs/now.js";

const SHOWN = 8;

export function RecentRuns({ name }) {
  const { value, error, loading, reload } = useLoaded("handlers", { workflow_name: name, order: "desc", limit: SHOWN, include: "now" });
  const again = useThrottled(reload, 1000);
  useChanges(({ handlers, purged, reset }) => {
    if (reset || purged.length > 0 || handlers.some((handler) => handler.workflow_name === name)) again();
  });
  const all = html`<a class="link" href=${href(["runs"], { workflow: name })}>All runs</a>`;
  return html`<${Panel} title="Latest runs" actions=${all} class="scrolls">
    <${Failure} error=${error} onRetry=${reload} />
    ${value === null && loading && html`<p class="inner soft">Loading…</p>`}
    ${value !== null && value.handlers.length === 0 && html`<p class="inner soft">No runs yet: <a class="link" href=${href(["start", name])}>start one</a>.</p>`}
    ${value !== null && value.handlers.length > 0 && html`<table class="rows recent"><tbody>${value.handlers.map((handler) => html`
      <tr key=${handler.handler_id}><td><${Status} handler=${handler} /></td>
        <td><a class="link mono" href=${href(["runs", handler.handler_id])}><bdi>${handler.handler_id}</bdi></a></td>
        <td class="recent-now"><${Now} handler=${handler} /></td>
        <td class="r num soft"><${Time} iso=${handler.started_at} relative=${true} /></td></tr>`)}</tbody></table>`}
  </${Panel}>`;
}
