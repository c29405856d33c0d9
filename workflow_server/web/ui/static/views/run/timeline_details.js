// What is known of the execution that is selected, in words.
import { Button, Copy } from "../../components/basics.js";
import { duration, exact, moment } from "../../format.js";
import { html } from "../../lib.js";
import { useNow } from "../../store.js";

export const OUTCOMES = {
  running: "running", done: "done", failed: "failed", retried: "failed, tried again", interrupted: "interrupted by the server's end",
  waiting: "went to wait", cancelled: "cancelled", wait: "waits", retry: "waits to retry",
};

/** Return an outcome in a phrase: "done in 12 ms", "running for 3 s". */
export function phrase(execution, now) {
  if (execution.end === null) return `running for ${duration((now - execution.begin) / 1000)}`;
  return `${OUTCOMES[execution.outcome]} ${execution.outcome === "done" ? "in" : "after"} ${took(execution)}`;
}

const took = ({ duration: measured, begin, end }) => duration(measured ?? (end - begin) / 1000);

export function Details({ execution, begin, onMove, onZoom, onClose }) {
  const now = useNow();
  const began = `${moment(execution.begin, now, { seconds: true })} · ${duration((execution.begin - begin) / 1000)} after the start`;
  const facts = [
    ["Began", began, exact(execution.begin)],
    ["Took", execution.end === null ? "still running" : took(execution)],
    ["Event", execution.event],
    ["Returned", execution.returned],
    ["Attempt", `${execution.attempt}${execution.again ? ", begun again after an interruption" : ""}`],
    ["Worker", execution.worker],
  ].filter(([, value]) => value !== null);
  return html`<section class="timeline-details" aria-label="Selected execution">
    <header><h3><bdi>${execution.step}</bdi></h3>
      <span class="timeline-outcome ${execution.outcome}" aria-live="polite">${phrase(execution, now)}</span>
      <span class="actions">
        <${Button} small quiet aria-label="Previous execution" onClick=${() => onMove("before")}>‹</${Button}>
        <${Button} small quiet aria-label="Next execution" onClick=${() => onMove("after")}>›</${Button}>
        <${Button} small quiet onClick=${onZoom}>Zoom to it</${Button}>
        <${Button} small quiet aria-label="Close the details" onClick=${onClose}>×</${Button}></span></header>
    <dl>${facts.map(([name, value, title]) => html`
      <div key=${name}><dt>${name}</dt><dd title=${title}><bdi>${value}</bdi></dd></div>`)}</dl>
    ${execution.error !== null && html`<p class="timeline-error"><bdi>${execution.error}</bdi></p>`}
    ${execution.traceback !== null && html`<details><summary>Traceback</summary>
      <${Copy} text=${execution.traceback} label="Copy the traceback" />
      <pre class="mono" tabindex="0"><bdi>${execution.traceback}</bdi></pre></details>`}
  </section>`;
}

/** The tooltip of what lies under the pointer. */
export function Tip({ item, x, y, now }) {
  const { execution, span } = item;
  const text = execution !== null ? phrase(execution, now) : spanPhrase(item, span, now);
  const style = { left: `${x + 14}px`, top: `${y + 14}px` };
  return html`<div class="timeline-tip" style=${style} aria-hidden="true">
    <b><bdi>${item.step || "run"}</bdi></b>${execution?.attempt > 1 && ` · attempt ${execution.attempt}`}
    <div>${text}</div>${execution?.error && html`<div class="soft"><bdi>${execution.error.slice(0, 160)}</bdi></div>`}</div>`;
}

function spanPhrase(item, span, now) {
  const length = duration(((span.end ?? now) - span.begin) / 1000);
  if (span.kind === "retry") return span.end === null ? `waits to retry for ${length}` : `tried again after ${length}`;
  const what = item.event === null ? "" : ` for ${item.event}`;
  return span.end === null ? `has waited${what} for ${length}` : `waited${what}: ${span.reason ?? "over"} after ${length}`;
}
