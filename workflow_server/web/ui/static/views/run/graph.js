// The graph of a workflow.
import { html } from "../../lib.js";

export function WorkflowGraph() {
  return html`<p class="soft">…</p>`;
}
