// One run: its head, and three views of the same time.
import { html } from "../lib.js";
import { RunGraph } from "./run/graph.js";
import { useRun } from "./run/model.js";
import { Timeline } from "./run/timeline.js";

export function RunView({ id }) {
  const run = useRun(id);
  return html`<h1>${id}</h1>
    <div class="run-grid"><${RunGraph} run=${run} /><${Timeline} run=${run} /></div>`;
}
