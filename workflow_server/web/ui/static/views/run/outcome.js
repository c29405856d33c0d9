// How a run ended, or why it makes no progress.
import { ANY_STATUS, get } from "../../api.js";
import { Copy, Notice, Panel } from "../../components/basics.js";
import { JsonTree } from "../../components/json_tree.js";
import { parseExact, writeExact } from "../../forms/exact_json.js";
import { number, shortName } from "../../format.js";
import { html, useMemo } from "../../lib.js";
import { hasEnded, isQueued } from "../../status.js";
import { useStore } from "../../store.js";

const MOST = 100_000; // Characters of a text that are drawn.

export function Outcome({ run }) {
  const handler = useStore(run.store, (value) => value.handler);
  if (handler.status === "completed") return html`<${Result} handler=${handler} />`;
  if (handler.status === "cancelled") return html`<${Notice} kind="info">This run was cancelled. <bdi>${handler.error}</bdi></${Notice}>`;
  if (hasEnded(handler)) return html`<${Failed} run=${run} handler=${handler} />`;
  if (handler.suspended) return html`<${Suspended} handler=${handler} />`;
  return handler.stalled && html`<${Notice} kind="warning"><b>Nothing can happen in this run any more.</b> No step runs, and nothing is
    waited for: a step may have returned nothing. Send it an event that a step accepts, or cancel it.</${Notice}>`;
}

/** The reason is a part of a sentence: "it waits for one of the slots". */
const sentence = (reason) => `${reason.charAt(0).toUpperCase()}${reason.slice(1).replace(/\.$/, "")}.`;

function Suspended({ handler }) {
  const queued = isQueued(handler);
  const [what, next] = queued ? ["This run waits for its turn.", "It begins by itself when another one ends."]
                              : ["This run makes no progress.", "Nothing is lost: serve the workflow with code that fits, then retry."];
  return html`<${Notice} kind="warning"><b>${what}</b> <bdi>${sentence(handler.suspended)}</bdi> ${next}</${Notice}>`;
}

/** The value of a plain StopEvent is its result; that of any other are its fields. */
function shownOf({ value }) {
  const names = Object.keys(value ?? {});
  return names.length === 1 && names[0] === "result" ? value.result : value;
}

function Result({ handler }) {
  if (!handler.result) return null;
  const shown = shownOf(handler.result);
  const exact = async () => writeExact(shownOf((await get(["handlers", handler.handler_id], ANY_STATUS, { parse: parseExact })).result), 2);
  const copy = html`<${Copy} text=${typeof shown === "string" ? shown : exact} label="Copy the result">Copy</${Copy}>`;
  return html`<${Panel} title="Result" hint=${shortName(handler.result.type)} actions=${copy} class="outcome">
    <div class="inner">${typeof shown === "string"
      ? html`<bdi class="outcome-text">${shown.slice(0, MOST)}</bdi>
        ${shown.length > MOST && html`<p class="soft">Cut here. Copy has all ${number(shown.length)} characters.</p>`}`
      : html`<${JsonTree} value=${shown} open=${2} />`}</div></${Panel}>`;
}

/** Return the last failure that the history has: its step, and a traceback with the place in the code. */
function lastFailure(entries) {
  const index = entries.findLastIndex(({ kind }) => kind === "attempt_failed");
  if (index < 0) return null;
  const failure = entries[index];
  // A traceback that the attempt before had as well is told once.
  const earlier = entries.slice(0, index).findLast((entry) => entry.step === failure.step && entry.traceback);
  const traceback = failure.traceback ?? earlier?.traceback ?? null;
  const places = [...(traceback ?? "").matchAll(/^ *File "(.+)", line (\d+)/gm)];
  const [, file, line] = places.at(-1) ?? [];
  return { step: failure.step, attempt: failure.attempt, traceback, place: file ? `${file.split(/[\\/]/).pop()}:${line}` : null, file };
}

function Failed({ run, handler }) {
  const entries = useStore(run.store, (value) => value.entries);
  const failure = useMemo(() => lastFailure(entries), [entries]);
  return html`<section class="panel outcome failed" aria-label="Error"><div class="inner">
    <p class="outcome-error"><bdi>${handler.error ?? "It failed."}</bdi></p>
    ${failure && html`<p class="soft">${!handler.error?.includes(`in step ${failure.step}`) && html`in step <b class="mono"><bdi>${failure.step}</bdi></b> `}
      ${failure.place && html`at <bdi class="mono" title=${failure.file}>${failure.place}</bdi>`}
      ${failure.attempt > 1 && ` in attempt ${failure.attempt}`}</p>`}
    ${failure?.traceback && html`<details><summary>Traceback</summary><pre tabindex="0"><bdi>${failure.traceback}</bdi></pre>
      <${Copy} text=${failure.traceback}>Copy the traceback</${Copy}></details>`}</div></section>`;
}
