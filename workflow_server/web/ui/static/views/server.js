// The state of the server.
import { html } from "../lib.js";

export function ServerView() {
  return html`<h1>Server</h1>`;
}
