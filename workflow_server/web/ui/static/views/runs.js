// The list of runs.
import { html } from "../lib.js";

export function RunsView() {
  return html`<h1>Runs</h1>`;
}
