// Small parts that every view is made of.
import { html, useEffect, useRef, useState } from "../lib.js";
import { ago, exact, moment, toMs } from "../format.js";
import { statusOf } from "../status.js";
import { useNow } from "../store.js";

export function Status({ handler, word, kind }) {
  const shown = handler ? statusOf(handler) : { word, kind };
  return html`<span class="status ${shown.kind}">${shown.word}</span>`;
}

export function Button({ children, primary, danger, quiet, busy, small, onClick, ...rest }) {
  const names = ["btn", primary && "primary", danger && "danger", quiet && "quiet", small && "small"].filter(Boolean);
  return html`<button type="button" class=${names.join(" ")} onClick=${onClick} aria-busy=${busy ? "true" : undefined}
    disabled=${busy || rest.disabled} ...${rest}>${children}</button>`;
}

/** Text of users or their code: isolated, so that its direction changes nothing around it. */
export function Text({ children, class: name = "" }) {
  return html`<bdi class=${name}>${children}</bdi>`;
}

/** A time: relative or of the day, with the exact one as its title. */
export function Time({ iso, relative = false, seconds = false }) {
  const now = useNow();
  const ms = toMs(iso);
  if (ms === null || Number.isNaN(ms)) return html`<span class="faint">–</span>`;
  const shown = relative ? ago(ms, now) : moment(ms, now, { seconds });
  return html`<time datetime=${iso} title=${`${new Date(ms).toDateString()} ${exact(ms)}`}>${shown}</time>`;
}

/** Copy a text, also where the page came by plain HTTP from another host and the clipboard is not offered. */
export async function copyText(text) {
  if (navigator.clipboard && isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A button that copies a text, and says so. `text` may be a function, which may be asynchronous. */
export function Copy({ text, children = "Copy", label, ...rest }) {
  const [said, setSaid] = useState(null);
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async (event) => {
    event.stopPropagation();
    event.preventDefault();
    try {
      await copyText(typeof text === "function" ? await text() : text);
      setSaid("Copied");
    } catch {
      setSaid("Not copied");
    }
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setSaid(null), 1500);
  };
  return html`<${Button} quiet small onClick=${copy} aria-label=${label} ...${rest}>
    <span aria-live="polite">${said ?? children}</span></${Button}>`;
}

/** An id in a fixed-width font; a click copies it. */
export function Id({ id, label = "id" }) {
  return html`<${Copy} text=${id} class="btn quiet small id mono" label=${`Copy ${label} ${id}`}>${id}</${Copy}>`;
}

export function Tags({ tags }) {
  return tags.map((tag) => html`<span class="tag" key=${tag}><bdi>${tag}</bdi></span>`);
}

/** An error or a warning, with what can be done. */
export function Notice({ kind = "error", children, onRetry, onClose }) {
  return html`<div class="notice ${kind}" role=${kind === "error" ? "alert" : "status"}>
    <span>${children}</span>
    ${onRetry && html`<${Button} small onClick=${onRetry}>Try again</${Button}>`}
    ${onClose && html`<${Button} small quiet onClick=${onClose} aria-label="Close">×</${Button}>`}
  </div>`;
}

export function Failure({ error, onRetry, onClose }) {
  if (!error) return null;
  return html`<${Notice} onRetry=${onRetry} onClose=${onClose}><bdi>${error.detail ?? String(error)}</bdi></${Notice}>`;
}

/** What is shown where there is nothing: what would be here, and how to get it. */
export function Empty({ title, children }) {
  return html`<div class="empty"><h2>${title}</h2>${children}</div>`;
}

export function Panel({ title, hint, actions, children, class: name = "", ...rest }) {
  return html`<section class="panel ${name}" aria-label=${typeof title === "string" ? title : undefined} ...${rest}>
    <header><h2>${title}</h2>${hint && html`<span class="soft">${hint}</span>`}
      ${actions && html`<span class="actions">${actions}</span>`}</header>
    ${children}
  </section>`;
}

/** Tell assistive technology something that is seen elsewhere. */
export function announce(text) {
  const region = document.getElementById("announcements");
  if (region) region.textContent = text;
}
