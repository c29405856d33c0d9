// The form that starts a run.
import { html } from "../lib.js";

export function StartView() {
  return html`<h1>Start a run</h1>`;
}
