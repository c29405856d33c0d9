// What can be done with a run now.
import { curl, newKey, post } from "../../api.js";
import { announce, Button, Copy, Failure } from "../../components/basics.js";
import { Dialog } from "../../components/dialog.js";
import { writeExact } from "../../forms/exact_json.js";
import { useAction } from "../../hooks.js";
import { html, useRef, useState } from "../../lib.js";
import { go, href } from "../../router.js";
import { hasEnded, isQueued } from "../../status.js";
import { useMay, useStore } from "../../store.js";
import { inputOf } from "./input.js";

const WHERE_IT_ENDED = "Steps that had ended stay ended; the one that failed begins again, with fresh attempts.";

export function Actions({ run }) {
  const handler = useStore(run.store, (value) => value.handler);
  const [open, setOpen] = useState(null);
  const mayRun = useMay("run");
  const mayPurge = useMay("full");
  const close = () => setOpen(null);
  const canRetry = handler.status === "failed" || handler.status === "cancelled" || (handler.suspended && !isQueued(handler));
  return html`
    <${Copy} text=${() => startAsCurl(handler)} title="The command that starts a run with the same input">Copy as curl</${Copy}>
    ${mayRun && html`<a class="btn" href=${href(["start", handler.workflow_name], { from: handler.handler_id })}
      title="A new run with the same input, which you can change first">Start again</a>`}
    ${mayRun && canRetry && html`<${Button} primary=${hasEnded(handler)} onClick=${() => setOpen("retry")}>Retry…</${Button}>`}
    ${mayRun && !hasEnded(handler) && html`<${Button} danger onClick=${() => setOpen("cancel")}>Cancel…</${Button}>`}
    ${mayPurge && hasEnded(handler) && html`<${Button} danger onClick=${() => setOpen("purge")}>Purge…</${Button}>`}
    ${open === "cancel" && html`<${Cancel} run=${run} onClose=${close} />`}
    ${open === "retry" && html`<${Retry} run=${run} handler=${handler} onClose=${close} />`}
    ${open === "purge" && html`<${Purge} run=${run} onClose=${close} />`}`;
}

async function startAsCurl(handler) {
  const fields = (await inputOf(handler.handler_id)) ?? {};
  const body = writeExact({ start_event: fields, ...(handler.tags.length > 0 && { tags: handler.tags }) });
  return curl("POST", ["workflows", handler.workflow_name, "run-nowait"], { body });
}

/** A question before something is done. `action()` does it. */
function Confirm({ title, word, busyWord, keep, action, onClose, children }) {
  const doing = useAction(action);
  const actions = html`<${Button} onClick=${onClose}>${keep}</${Button}>
    <${Button} danger busy=${doing.busy} onClick=${doing.run}>${doing.busy ? busyWord : word}</${Button}>`;
  return html`<${Dialog} title=${title} onClose=${onClose} actions=${actions}>${children}<${Failure} error=${doing.error} /></${Dialog}>`;
}

function Cancel({ run, onClose }) {
  const cancel = async () => {
    await post(["handlers", run.id, "cancel"]);
    announce("Run cancelled");
    run.reload();
    onClose();
  };
  const words = { title: "Cancel this run?", word: "Cancel the run", busyWord: "Cancelling…", keep: "Let it run" };
  return html`<${Confirm} ...${words} action=${cancel} onClose=${onClose}>
    <p>Its steps are stopped where they are. What is known of it stays, and it can be retried.</p></${Confirm}>`;
}

function Purge({ run, onClose }) {
  const purge = async () => {
    await post(["handlers", run.id, "cancel"], {}, { query: { purge: true } });
    announce("Run purged");
    go(href(["runs"]));
  };
  const words = { title: "Purge this run?", word: "Purge for good", busyWord: "Purging…", keep: "Keep it" };
  return html`<${Confirm} ...${words} action=${purge} onClose=${onClose}>
    <p>Its input, events, result and history are deleted. Nothing brings them back.</p></${Confirm}>`;
}

/** Begin again: where the run ended, or from a step; here, or in a handler of its own. */
function Retry({ run, handler, onClose }) {
  const entries = useStore(run.store, (value) => value.entries);
  const steps = [...new Set(entries.filter(({ kind }) => kind === "step_began").map(({ step }) => step))];
  const [from, setFrom] = useState("");
  const [fork, setFork] = useState(false);
  const key = useRef(newKey());
  const isSuspended = !hasEnded(handler);
  const retry = useAction(async () => {
    const body = isSuspended ? {} : { ...(from && { from_step: from }), ...(fork && { fork: true }) };
    const again = await post(["handlers", run.id, "retry"], body, { key: key.current });
    announce("The run goes on");
    onClose();
    if (again.handler_id !== run.id) go(href(["runs", again.handler_id]));
    else run.reload();
  });
  const change = (set) => (event) => {
    // What was asked before was refused, or its answer was lost: this asks for something else.
    key.current = newKey();
    set(event);
  };
  const word = fork ? "Retry as a copy" : "Retry";
  const actions = html`<${Button} onClick=${onClose}>Not now</${Button}>
    <${Button} primary busy=${retry.busy} onClick=${retry.run}>${retry.busy ? "Retrying…" : word}</${Button}>`;
  return html`<${Dialog} title="Retry this run" onClose=${onClose} actions=${actions}>
    ${isSuspended ? html`<p>It is loaded again with the code that is served now, and goes on where it was.</p>` : html`<div class="retry">
      <label class="field"><span class="field-name">Begin again</span>
        <select value=${from} onChange=${change((event) => setFrom(event.target.value))}><option value="">where it ended</option>
          ${steps.map((step) => html`<option key=${step} value=${step}>from step ${step}</option>`)}</select>
        <span class="field-hint">${from ? `What came after the last beginning of ${from} is done again.` : WHERE_IT_ENDED}</span></label>
      <label class="check"><input type="checkbox" checked=${fork} onChange=${change((event) => setFork(event.target.checked))} />
        As a copy: this run stays as it is</label></div>`}
    <${Failure} error=${retry.error} /></${Dialog}>`;
}
