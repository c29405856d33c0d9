// One run: its head, and three views of the same time.
import { html } from "../lib.js";

export function RunView({ id }) {
  return html`<h1>${id}</h1>`;
}
