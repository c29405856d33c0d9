// The workflows, and one of them.
import { html } from "../lib.js";

export function WorkflowsView() {
  return html`<h1>Workflows</h1>`;
}

export function WorkflowView({ name }) {
  return html`<h1>${name}</h1>`;
}
