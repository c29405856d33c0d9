// What a run waits for: the question, until when, and a form of the answer.
import { announce, Button, Copy, Failure, Notice, Time } from "../../components/basics.js";
import { parseExact } from "../../forms/exact_json.js";
import { focusFirst, initialValue, SchemaForm } from "../../forms/schema_form.js";
import { count, duration, toMs } from "../../format.js";
import { useLoaded } from "../../hooks.js";
import { html, useEffect, useMemo, useRef, useState } from "../../lib.js";
import { hasEnded } from "../../status.js";
import { useMay, useNow, useStore } from "../../store.js";
import { Question } from "./question.js";
import { explainRefusal, useSending } from "./sending.js";
import { SendDialog } from "./send_event.js";

/** Return waits with an `id` each, which stays as long as the wait does. */
function identified(waits) {
  const seen = new Map();
  return waits.map((wait) => {
    const name = JSON.stringify([wait.step, wait.event, wait.requirements, wait.since ?? wait.deadline]);
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return { ...wait, id: `${name} ${seen.get(name)}` };
  });
}

const titleOf = (wait) => wait.prompt ?? `This run waits for ${wait.event}.`;

/** All that a run waits for, a card each; below, what is held, and what else can be sent. */
export function Answer({ run }) {
  const handler = useStore(run.store, (value) => value.handler);
  const waits = useMemo(() => (hasEnded(handler) ? [] : identified(handler.waiting_for ?? [])), [handler]);
  const mayRun = useMay("run");
  const { value, error, reload } = useEvents(mayRun && !hasEnded(handler) ? handler.workflow_name : null, waits);
  // What became of the answers of this page, by the ids of the waits: "sent", or the error.
  const [sent, setSent] = useState({});
  const note = (wait, outcome) => setSent((before) => ({ ...before, [wait.id]: outcome }));
  const [isSending, setSending] = useState(false);
  const closed = useClosed(waits);
  const onSent = (wait) => {
    note(wait, "sent");
    announce(`${wait.event} sent`);
    run.reload();
  };
  const isOver = hasEnded(handler);
  if (isOver && closed.waits.length === 0) return null;
  const events = value?.events ?? (error?.status === 404 ? [] : null);
  const given = (wait, place) => ({
    run, wait, place, events, isOnly: waits.length === 1, isSent: sent[wait.id] === "sent",
    onSent: () => onSent(wait), onRefused: (error) => note(wait, error), onAgain: () => note(wait, null),
  });
  return html`<div class="answers">
    ${closed.waits.map((wait) => html`<${Closed} key=${wait.id} wait=${wait} outcome=${sent[wait.id]} isOver=${isOver}
      onClose=${() => closed.forget(wait)} />`)}
    <${Failure} error=${error?.status === 404 ? null : error} onRetry=${reload} />
    ${waits.map((wait, place) => html`<${Card} key=${wait.id} ...${given(wait, place)} />`)}
    ${!isOver && html`<div class="answers-more"><${Held} count=${handler.held_events} />
      ${mayRun && events && !handler.suspended && html`<${Button} small quiet onClick=${() => setSending(true)}>Send another event…</${Button}>`}</div>`}
    ${isSending && events && html`<${SendDialog} run=${run} events=${events} onClose=${() => setSending(false)} />`}
  </div>`;
}

/** A question that is no longer open, and what became of the answer. */
function Closed({ wait, outcome, isOver, onClose }) {
  if (outcome === "sent") {
    return html`<${Notice} kind="info" onClose=${onClose}><b>${wait.event} sent.</b> ${isOver ? "The run has ended." : "The run goes on with it."}
      </${Notice}>`;
  }
  const because = isOver ? "The run has ended." : "It was answered elsewhere, or its time was over.";
  const lost = "Your answer has probably arrived: only what the server said to it was lost.";
  return html`<${Notice} kind=${outcome && outcome.status !== 0 ? "warning" : "info"} onClose=${onClose}>
    No longer asked: <bdi>${titleOf(wait)}</bdi> ${outcome?.status === 0 ? lost : because}
    ${outcome && outcome.status !== 0 && html` <bdi>${explainRefusal(outcome).text}</bdi>`}</${Notice}>`;
}

const Held = ({ count: held }) => held > 0 && html`<span class="soft">${count(held, "event")} held until the run waits
  ${" "}for ${held === 1 ? "it" : "them"}.</span>`;

/** Load the schemas of a workflow's events, again when a run waits for one that was not known before. */
function useEvents(name, waits) {
  const path = name === null ? null : ["workflows", name, "events"];
  const loaded = useLoaded(path, { include: "waited_for" }, { parse: parseExact });
  const known = loaded.value?.events.map(({ title }) => title) ?? null;
  const unknown = known && waits.map(({ event }) => event).filter((event) => !known.includes(event)).join();
  useEffect(() => {
    if (unknown) loaded.reload();
  }, [unknown]);
  return loaded;
}

/** Return the waits that are over since this page was opened, for as long as nobody closes the notes about them. */
function useClosed(waits) {
  const [closed, setClosed] = useState([]);
  const before = useRef([]);
  useEffect(() => {
    const gone = before.current.filter((wait) => !waits.some(({ id }) => id === wait.id));
    before.current = waits;
    if (gone.length > 0) setClosed((all) => [...all, ...gone].slice(-3));
  }, [waits]);
  return { waits: closed, forget: (wait) => setClosed(closed.filter(({ id }) => id !== wait.id)) };
}

/** Requirements are told in parentheses where JSON cannot express them: nobody can fill these in. */
const isTold = (value) => !(typeof value === "string" && /^\([\w. ]+\)$/.test(value));

/** The question, and the form of its answer as soon as the event's schema is there. */
function Card({ wait, events, isSent, onAgain, place, ...rest }) {
  const mayRun = useMay("run");
  return html`<section class="ask" aria-labelledby=${`ask-${place}`}>
    <h2 id=${`ask-${place}`}><bdi>${titleOf(wait)}</bdi></h2>
    <${Standing} wait=${wait} />
    <${Question} run=${rest.run} wait=${wait} isOnly=${rest.isOnly} />
    ${isSent && html`<p role="status"><b>${wait.event} sent.</b> The run takes it up in a moment.
      <${Button} small quiet onClick=${onAgain}>Answer again</${Button}></p>`}
    ${!mayRun && html`<p class="soft">Your token may not answer: it has the role read.</p>`}
    ${mayRun && !isSent && (events ? html`<${AnswerForm} wait=${wait} events=${events} ...${rest} />` : html`<p class="soft">Loading the form…</p>`)}
  </section>`;
}

function AnswerForm({ run, wait, events, onSent, onRefused }) {
  const schema = useMemo(() => events.find((one) => one.title === wait.event) ?? { title: wait.event }, [events, wait.event]);
  const required = Object.entries(wait.requirements ?? {});
  const prefilled = useMemo(() => Object.fromEntries(required.filter(([, value]) => isTold(value))), [wait.id]);
  const untold = required.filter(([, value]) => !isTold(value)).map(([name]) => name);
  const [fields, setFields] = useState(() => initialValue(schema, prefilled));
  const [problem, setProblem] = useState(null);
  const [isChecked, setChecked] = useState(false);
  const form = useRef(null);
  const sending = useSending(run.id, () => ({ event: { type: wait.event, value: fields } }), onSent, onRefused);
  const submit = (event) => {
    event.preventDefault();
    setChecked(true);
    if (problem === null) sending.send();
    else focusFirst(form.current);
  };
  return html`<form ref=${form} novalidate aria-label=${wait.event} onSubmit=${submit} onDragOver=${keepPage} onDrop=${keepPage}>
    <${SchemaForm} label=${wait.event} compact schema=${schema} value=${fields} onChange=${setFields} prefilled=${prefilled}
      errors=${sending.errors} onProblem=${setProblem} isChecked=${isChecked} />
    ${untold.length > 0 && html`<p class="soft">The run waits for a certain value of ${untold.join(", ")}, which cannot be shown.</p>`}
    <${Refusal} error=${sending.error} onRetry=${sending.send} />
    <div class="ask-actions">
      <${Button} primary type="submit" busy=${sending.busy}>${sending.busy ? "Sending…" : `Send ${wait.event}`}</${Button}>
      <${Copy} text=${sending.asCurl}>Copy as curl</${Copy}>
      ${problem !== null && html`<span class="field-error">First mend the JSON.</span>`}</div>
  </form>`;
}

const keepPage = (event) => event.preventDefault();

export function Refusal({ error, onRetry }) {
  if (!error) return null;
  const { text, canRetry } = explainRefusal(error);
  return html`<${Notice} onRetry=${canRetry ? onRetry : undefined}><bdi>${text}</bdi></${Notice}>`;
}

/** Since when it is asked, and until when. */
function Standing({ wait }) {
  return html`<p class="ask-standing num">${wait.since && html`asked <${Time} iso=${wait.since} relative /> · `}step${" "}
    <bdi class="mono">${wait.step}</bdi> · ${wait.deadline ? html`<${Deadline} iso=${wait.deadline} />` : "no deadline"}</p>`;
}

function Deadline({ iso }) {
  const left = (toMs(iso) - useNow()) / 1000;
  return html`<span class=${left < 60 ? "ask-late" : ""}>${left > 0 ? `${duration(left)} left` : "its time is over"}</span>
    <span class="soft"> (until <${Time} iso=${iso} />)</span>`;
}
