// The form that starts a run.
import { ANY_STATUS, curl, newKey, post } from "../api.js";
import { announce, Button, Copy, Empty, Failure, Notice } from "../components/basics.js";
import { parseExact, writeExact } from "../forms/exact_json.js";
import { focusFirst, initialValue, SchemaForm } from "../forms/schema_form.js";
import { useAction, useLoaded, useTitle } from "../hooks.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib.js";
import { go, href } from "../router.js";
import { useMay } from "../store.js";
import { inputOf } from "./run/input.js";
import { errorsOf } from "./run/sending.js";
import { Options, tagsOf } from "./start/options.js";

const MANY = 8; // Workflows from which on they are searched.

export function StartView({ name, query }) {
  useTitle(name ? `Start ${name}` : "Start a run");
  if (!useMay("run")) {
    return html`<${Empty} title="This token may not start runs">
      <p>It has the role <b>read</b>. One with the role <b>run</b> can.</p></${Empty}>`;
  }
  return name ? html`<${StartOne} name=${name} from=${query.get("from")} />` : html`<${Choose} />`;
}

/** The workflows that can be started. */
function Choose() {
  const { value, error, reload } = useLoaded(["workflows"]);
  const [search, setSearch] = useState("");
  const names = value?.workflows ?? [];
  const only = names.length === 1 ? names[0] : null;
  useEffect(() => {
    if (only !== null) go(href(["start", only]), { replace: true });
  }, [only]);
  const found = names.filter((name) => name.toLowerCase().includes(search.trim().toLowerCase()));
  return html`<h1>Start a run</h1>
    <p class="soft start-lead">Choose a workflow. Its input comes next.</p>
    <${Failure} error=${error} onRetry=${reload} />
    ${names.length >= MANY && html`<label class="start-search">Search workflows <input type="search" value=${search} autofocus
      onInput=${(event) => setSearch(event.target.value)} /></label>`}
    ${value && names.length === 0 && html`<${Empty} title="This server has no workflows"><p>Give it some:
      <code>workflow-server serve flows.py</code></p></${Empty}>`}
    ${names.length > 0 && found.length === 0 && html`<p class="soft">No workflow is called like that.</p>`}
    <ul class="start-list">${found.map((name) => html`<li key=${name}>
      <a class="panel" href=${href(["start", name])}><bdi>${name}</bdi></a></li>`)}</ul>`;
}

/** Return the input of another run's start, as `{ value, problem }`; value is undefined until it is there. */
function useInputOf(handlerId) {
  const [input, setInput] = useState(null);
  useEffect(() => {
    if (handlerId === null) return undefined;
    const controller = new AbortController();
    const set = (value, problem) => controller.signal.aborted || setInput({ handlerId, value, problem });
    inputOf(handlerId, controller).then(
      (value) => set(value, value === null ? `The input of run ${handlerId} is not kept: fill it in anew.` : null),
      (error) => set(null, `The input of run ${handlerId} cannot be read: ${error.message}`),
    );
    return () => controller.abort();
  }, [handlerId]);
  if (handlerId === null) return { value: null, problem: null };
  return input?.handlerId === handlerId ? input : { value: undefined, problem: null };
}

function StartOne({ name, from }) {
  const { value, error, loading, reload } = useLoaded(["workflows", name, "schema"], {}, { parse: parseExact });
  const source = useLoaded(from === null ? null : ["handlers", from], ANY_STATUS);
  const input = useInputOf(from);
  const isReady = value && input.value !== undefined && (from === null || !source.loading);
  const sourceLink = html`<a class="link mono" href=${href(["runs", String(from)])}>${from}</a>`;
  return html`<nav class="crumbs" aria-label="Breadcrumb">
      <a class="soft" href=${href(["start"])}>Start a run</a> <span class="faint">/</span></nav>
    <h1><bdi>${name}</bdi></h1>
    ${error?.status === 404 ? html`<${Empty} title="There is no such workflow"><p>This server does not serve <bdi>${name}</bdi>.
      <a class="link" href=${href(["start"])}>Choose another</a>.</p></${Empty}>` : html`<${Failure} error=${error} onRetry=${reload} />`}
    ${loading && !value && !error && html`<p class="soft">Loading the form…</p>`}
    ${from !== null && isReady && html`<p class="soft start-lead">${input.problem ?? html`With the input of run ${sourceLink}.`}</p>`}
    ${isReady && html`<${StartForm} key=${from} name=${name} schema=${value.start} given=${input.value}
      tags=${source.value?.tags ?? []} />`}`;
}

function StartForm({ name, schema, given, tags }) {
  const first = useMemo(() => given ?? initialValue(schema), []);
  const [fields, setFields] = useState(first);
  const [options, setOptions] = useState({ tags: tags.join(", "), handlerId: "", key: newKey() });
  const [problem, setProblem] = useState(null);
  const [isChecked, setChecked] = useState(false);
  const form = useRef(null);
  const tagList = tagsOf(options.tags);
  const body = () => writeExact({
    start_event: fields,
    ...(tagList.length > 0 ? { tags: tagList } : {}),
    ...(options.handlerId.trim() ? { handler_id: options.handlerId.trim() } : {}),
  });
  const path = ["workflows", name, "run-nowait"];
  const key = options.key.trim() || undefined;
  const start = useAction(async () => {
    const handler = await post(path, body(), { key });
    announce(`Run ${handler.handler_id} started`);
    go(href(["runs", handler.handler_id]));
  });
  const submit = (event) => {
    event.preventDefault();
    setChecked(true);
    const masked = maskedIn(form.current);
    if (masked) masked.focus();
    else if (problem === null) start.run();
    else focusFirst(form.current);
  };
  const own = useMemo(() => errorsOf(start.error, "start_event"), [start.error]);
  const others = (start.error?.body?.errors ?? []).filter(({ path }) => path[0] !== "start_event");
  return html`<form class="start-form" ref=${form} novalidate aria-label=${`Start ${name}`} onSubmit=${submit}
    onDragOver=${keepPage} onDrop=${keepPage}>
    <section class="panel inner" aria-label="Input">
      <${Description} schema=${schema} />
      <${SchemaForm} label="Input" schema=${schema} value=${fields} onChange=${setFields} errors=${own} onProblem=${setProblem}
        isChecked=${isChecked} />
    </section>
    <${Options} value=${options} onChange=${setOptions} errors=${others} />
    <${Refusal} error=${start.error} onNewKey=${() => setOptions({ ...options, key: newKey() })} onRetry=${start.run} />
    <div class="start-actions"><${Button} primary type="submit" busy=${start.busy}>${start.busy ? "Starting…" : "Start"}</${Button}>
      <${Copy} text=${() => curl("POST", path, { body: body(), key })}>Copy as curl</${Copy}>
      ${problem !== null && html`<span class="field-error">First mend the JSON.</span>`}</div>
  </form>`;
}

/** What an event class says of itself; of the engine's own, whose text says nothing to a reader, what to do with it. */
function Description({ schema }) {
  const isPlain = schema.title === "StartEvent" && Object.keys(schema.properties ?? {}).length === 0;
  const text = isPlain ? "This workflow declares no fields. Add those that its steps read, if any." : schema.description;
  return text && html`<p class="soft start-description"><bdi>${text}</bdi></p>`;
}

/** Return the field of a secret that was not entered anew: the stars that stand for it would be sent. */
const maskedIn = (form) => [...form.querySelectorAll("input[type=password]")].find(({ value }) => /^\*+$/.test(value));

/** A file that misses a field must not replace the page. */
const keepPage = (event) => event.preventDefault();

/** Why nothing was started, or why nobody knows. */
function Refusal({ error, onNewKey, onRetry }) {
  if (!error) return null;
  if (error.status === 422) {
    return html`<${Notice} kind="warning">With this idempotency key a run was started from another input: an earlier try got through.
      See <a class="link" href=${href(["runs"])}>the runs</a>, or <${Button} small onClick=${onNewKey}>take a new key</${Button}> to start
      another.</${Notice}>`;
  }
  if (error.status === 0 || error.status >= 502) {
    return html`<${Notice} onRetry=${onRetry}>${error.detail} Try again: with the same key nothing is started twice.</${Notice}>`;
  }
  if (!error.body?.errors) return html`<${Notice}>Not started. <bdi>${error.detail}</bdi></${Notice}>`;
  return html`<${Notice}>Not started: the marked fields need another value.
    <details class="start-detail"><summary>All that the server says</summary><bdi>${error.detail}</bdi></details></${Notice}>`;
}
