// Any event of the workflow, to one step if wanted.
import { announce, Button, Copy } from "../../components/basics.js";
import { Dialog } from "../../components/dialog.js";
import { EventForm, newEvent } from "../../forms/event_form.js";
import { html, useState } from "../../lib.js";
import { useStore } from "../../store.js";
import { Refusal } from "./answer.js";
import { useSending } from "./sending.js";

const ENGINES = ["StartEvent", "StopEvent", "StepFailedEvent"];

/** Return the schemas of the events that clients may send: those that start or end runs are the engine's business. */
function sendable(events, graph) {
  const own = new Set();
  for (const node of graph?.nodes ?? []) {
    if (node.node_type === "event" && (node.event_types ?? []).some((name) => ENGINES.includes(name))) own.add(node.event_type);
  }
  const found = events.filter(({ title }) => !own.has(title) && !ENGINES.includes(title));
  return found.some(({ title }) => title === "HumanResponseEvent") ? found : [...found, { title: "HumanResponseEvent", type: "object" }];
}

const stepsFor = (graph, type) => (graph?.edges ?? []).filter(({ source }) => source === type).map(({ target }) => target);

export function SendDialog({ run, events, onClose }) {
  const graph = useStore(run.store, (value) => value.graph);
  const schemas = sendable(events, graph);
  const [event, setEvent] = useState(() => newEvent(schemas[0]));
  const [step, setStep] = useState("");
  const [hold, setHold] = useState(false);
  const [problem, setProblem] = useState(null);
  const [isChecked, setChecked] = useState(false);
  const request = () => ({ event: { type: event.type, value: event.fields }, ...(step && { step }), ...(hold && { hold: true }) });
  const sending = useSending(run.id, request, () => {
    announce(`${event.type} sent`);
    run.reload();
    onClose();
  });
  const steps = stepsFor(graph, event.type);
  const change = (next) => {
    if (next.type !== event.type) {
      setStep("");
      sending.renew();
    }
    setEvent(next);
  };
  const submit = () => {
    setChecked(true);
    if (problem === null) sending.send();
  };
  const actions = html`<${Copy} text=${sending.asCurl}>Copy as curl</${Copy}>
    <${Button} primary busy=${sending.busy} disabled=${problem !== null} onClick=${submit}>
      ${sending.busy ? "Sending…" : `Send ${event.type}`}</${Button}>`;
  return html`<${Dialog} title="Send an event" onClose=${onClose} actions=${actions} wide>
    <div class="send-event">
      <${EventForm} schemas=${schemas} value=${event} onChange=${change} errors=${sending.errors} onProblem=${setProblem}
        isChecked=${isChecked} />
      ${steps.length > 0 && html`<label class="field"><span class="field-name">Step</span>
        <select value=${step} onChange=${(change) => setStep(change.target.value)}><option value="">every step that accepts it</option>
          ${steps.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>`}
      <label class="check"><input type="checkbox" checked=${hold} onChange=${(change) => setHold(change.target.checked)} />
        Hold it until a step waits for it</label>
      <${Refusal} error=${sending.error} onRetry=${sending.send} />
    </div></${Dialog}>`;
}
