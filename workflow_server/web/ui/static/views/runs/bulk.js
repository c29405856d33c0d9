// Cancel, retry and purge many runs: those that are selected, or all of the list.
import { html, useEffect, useReducer, useRef, useState } from "../../lib.js";
import { Button, Failure, Status, announce } from "../../components/basics.js";
import { Dialog } from "../../components/dialog.js";
import { count, number } from "../../format.js";
import { href } from "../../router.js";
import { useMay } from "../../store.js";
import { ACTIONS, act, partsOf, survey } from "./bulk_work.js";
import { inWords, isNarrowed } from "./filter.js";
import { Actions } from "./menu.js";
import { Now } from "./now.js";

/**
 * The line above the rows: what can be done with the selected runs, or with all of the list. While the rows are still
 * those of another filter (`isOther`), nothing is.
 */
export function BulkBar({ filter, rows, chosen, total, onChosen, onDone, isOther }) {
  const isFull = useMay("full");
  const [asked, setAsked] = useState(null);
  const offered = Object.entries(ACTIONS).filter(([, { role }]) => isFull || role === "run");
  const ask = (action, target) => setAsked({ action, target });
  const close = (isDone) => {
    setAsked(null);
    if (isDone) {
      onChosen(new Map());
      onDone();
    }
    // The button that asked may be gone.
    requestAnimationFrame(() => document.activeElement === document.body && document.getElementById("main").focus({ preventScroll: true }));
  };
  return html`${rows.length > 0 && (chosen.size > 0
    ? html`<${Chosen} rows=${rows} chosen=${chosen} offered=${offered} ask=${ask} onChosen=${onChosen} />`
    : isFull && html`<${All} filter=${filter} total=${total} offered=${offered} ask=${ask} isOther=${isOther} />`)}
    ${asked && html`<${BulkDialog} key="dialog" ...${asked} onClose=${close} />`}`;
}

function Chosen({ rows, chosen, offered, ask, onChosen }) {
  const latest = new Map(rows.map((row) => [row.handler_id, row]));
  const handlers = [...chosen].map(([id, handler]) => latest.get(id) ?? handler);
  return html`<div class="bulk chosen" role="group" aria-label="Selected runs">
    <b class="num">${number(chosen.size)} selected</b>
    ${offered.map(([action, { verb, danger }]) => html`<${Button} key=${action} small danger=${danger}
      onClick=${() => ask(action, { handlers })}>${verb}…</${Button}>`)}
    <${Button} small quiet onClick=${() => onChosen(new Map())}>Clear selection</${Button}></div>`;
}

function All({ filter, total, offered, ask, isOther }) {
  const isWhole = !isNarrowed(filter);
  const actions = offered.filter(([action]) => partsOf(action, filter.show).length > 0).map(([action, { verb, danger }]) => ({
    label: `${verb} ${isWhole ? VERBS[action] : "those that match"}…`, danger, run: () => ask(action, { filter }),
  }));
  return html`<div class="bulk" inert=${isOther}><span class="soft">${total !== null && count(total, "run")}</span>
    ${actions.length > 0 && html`<${Actions} title="Bulk actions" actions=${actions} />`}</div>`;
}

const VERBS = { cancel: "all that run", retry: "all that failed", purge: "all of this list" };

const begun = { phase: "counting", parts: [], counted: 0, also: {}, done: 0, refused: [], error: null };

function reduce(state, change) {
  if (change.step) return { ...state, done: state.done + change.step.done, refused: [...state.refused, ...change.step.refused] };
  return { ...state, ...change };
}

/** Do the work of a dialog: { state, begin, stop, recount, setAlso }. */
function useBulk(action, target) {
  const [state, change] = useReducer(reduce, begun);
  const controller = useRef(null);
  const renew = () => {
    controller.current?.abort();
    controller.current = new AbortController();
    return controller.current.signal;
  };
  const recount = async () => {
    const signal = renew();
    change({ ...begun });
    try {
      const parts = await survey(action, target, { signal, onCount: (counted) => change({ counted }) });
      if (!signal.aborted) change({ phase: "ready", parts });
    } catch (error) {
      if (!signal.aborted) change({ error });
    }
  };
  useEffect(() => {
    recount();
    return () => controller.current.abort();
  }, []);
  const parts = state.parts.filter((part, index) => part.count > 0 && (!part.also || state.also[index]));
  const begin = async () => {
    const signal = renew();
    change({ phase: "working", error: null });
    try {
      await act(action, parts, { signal, onDone: (step) => change({ step }) });
      change({ phase: "done" });
    } catch (error) {
      change(error.name === "AbortError" ? { phase: "stopped" } : { error });
    }
  };
  const setAlso = (index, isMeant) => change({ also: { ...state.also, [index]: isMeant } });
  return { state, parts, begin, stop: () => controller.current.abort(), recount, setAlso };
}

function BulkDialog({ action, target, onClose }) {
  const { verb, done, danger, explained } = ACTIONS[action];
  const { state, parts, begin, stop, recount, setAlso } = useBulk(action, target);
  const meant = parts.reduce((sum, part) => sum + part.count, 0);
  const told = `${number(meant)}${parts.some((part) => part.isMore) ? " or more" : ""} ${meant === 1 ? "run" : "runs"}`;
  const { phase, error } = state;
  const among = target.handlers ? `the selected runs (${number(target.handlers.length)})` : inWords(target.filter);
  const isOver = phase === "done" || phase === "stopped";
  const outcome = `${count(state.done, "run")} ${done}${state.refused.length > 0 ? `, ${number(state.refused.length)} refused` : ""}`;
  useEffect(() => {
    if (isOver) announce(outcome);
  }, [isOver]);
  const close = () => {
    stop();
    onClose(state.done + state.refused.length > 0);
  };
  const actions = html`
    <${Button} onClick=${close}>${isOver || state.done > 0 || meant === 0 ? "Close" : "Keep them as they are"}</${Button}>
    ${phase === "ready" && meant > 0 && html`<${Button} primary=${!danger} danger=${danger} onClick=${begin}>${verb} ${told}</${Button}>`}
    ${phase === "working" && error === null && html`<${Button} onClick=${stop}>Stop</${Button}>`}`;
  return html`<${Dialog} title=${`${verb} runs`} onClose=${close} actions=${actions} wide>
    <p class="bulk-target">Among <bdi>${among}</bdi>:</p>
    <${Failure} error=${error} onRetry=${phase === "working" ? begin : recount} />
    ${phase === "counting" && !error && html`<p role="status">Counting… <span class="num">${number(state.counted)}</span></p>`}
    ${phase === "ready" && html`<${Question} state=${state} parts=${parts} told=${told} meant=${meant} done=${done}
      explained=${explained} danger=${danger} setAlso=${setAlso} />`}
    ${(phase === "working" || isOver) && html`<${Progress} state=${state} meant=${meant} outcome=${outcome} />`}
  </${Dialog}>`;
}

const RunLink = ({ id }) => html`<a class="link mono" href=${href(["runs", id])} target="_blank">${id}</a>`;

function Question({ state, parts, told, meant, done, explained, danger, setAlso }) {
  const sample = parts.flatMap((part) => part.sample).slice(0, 5);
  return html`
    ${state.parts.map((part, index) => part.also && part.count > 0 && html`<label class="bulk-also" key=${index}>
      <input type="checkbox" checked=${state.also[index] ?? false} onChange=${(event) => setAlso(index, event.target.checked)} />
      ${part.also(`${number(part.count)}${part.isMore ? " or more" : ""}`)}</label>`)}
    <p class="bulk-count" role="status"><b>${meant === 0 ? `None of them would be ${done}.` : `${told} will be ${done}.`}</b></p>
    ${meant > 0 && html`<p class=${danger ? "bulk-danger" : "soft"}>${explained}</p>
      <table class="bulk-sample"><caption class="soft">${meant > sample.length ? "The first of them:" : "They are:"}</caption>
        <tbody>${sample.map((handler) => html`<tr key=${handler.handler_id}>
          <td><${Status} handler=${handler} /></td><td><bdi>${handler.workflow_name}</bdi></td>
          <td class="what"><${Now} handler=${handler} /></td>
          <td><${RunLink} id=${handler.handler_id} /></td></tr>`)}
        </tbody></table>`}`;
}

/** Return the reasons of refusals, the most frequent first: { detail, times, first }. */
function reasons(refused) {
  const found = new Map();
  for (const { handler_id: first, detail } of refused) {
    const known = found.get(detail) ?? { detail, times: 0, first };
    found.set(detail, { ...known, times: known.times + 1 });
  }
  return [...found.values()].sort((one, other) => other.times - one.times).slice(0, 10);
}

function Progress({ state, meant, outcome }) {
  const { phase, done, refused } = state;
  return html`
    <progress value=${done + refused.length} max=${Math.max(meant, done + refused.length, 1)} aria-label="Progress"></progress>
    <p class="num">${phase === "working" ? `${number(done + refused.length)} of ${number(meant)}` : html`<b>${outcome}.</b>`}
      ${phase === "stopped" && " Stopped: the others are as they were."}</p>
    ${refused.length > 0 && html`<ul class="bulk-refused">${reasons(refused).map(({ detail, times, first }) => html`
      <li key=${detail}><b class="num">${number(times)} ×</b> <bdi>${detail}</bdi> <${RunLink} id=${first} /></li>`)}</ul>`}`;
}
