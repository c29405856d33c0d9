// What happened to a handler, told as a story: over all of its runs, an entry a sentence.
import { Button, Empty, Id, Panel } from "../../components/basics.js";
import { count, duration, exact, number, toMs } from "../../format.js";
import { html, useMemo, useState } from "../../lib.js";
import { setQuery, usePlace } from "../../router.js";
import { useStore } from "../../store.js";
import { contextOf, Sentence, toneOf } from "./sentences.js";

const PAGE = 200; // Entries that are drawn at first, and more each time.

const ENDS = ["completed", "failed", "cancelled", "timed_out"];

/** What can be looked at alone: a name in the link, its title, and the kinds of entries. */
const GROUPS = [
  ["run", "The run itself", ["started", "resumed", "released", "suspended", "retried", "cancel_requested", ...ENDS, "idle", "other"]],
  ["failures", "Failures", ["attempt_failed", "failed", "timed_out", "wait_timed_out", "suspended", "event_unhandled"]],
  ["steps", "Steps", ["step_queued", "step_began", "step_ended", "attempt_failed"]],
  ["events", "Events", ["event_published", "event_sent", "event_unhandled", ...ENDS]],
  ["waits", "Waits", ["wait_began", "wait_answered", "wait_timed_out", "idle"]],
];

export function History({ run }) {
  const { query } = usePlace();
  const { entries, complete, executions, spans } = useStore(run.store);
  const only = query.get("kind");
  const isNewestFirst = query.get("order") === "desc";
  const [most, setMost] = useState(PAGE);
  const context = useMemo(() => contextOf(executions, spans), [executions, spans]);
  const story = useMemo(() => tell(entries, only, isNewestFirst), [entries, only, isNewestFirst]);
  const hint = `${count(entries.length, "entry", "entries")}${complete ? "" : " so far"}`;
  const older = !complete && html`<${Older} run=${run} />`;
  return html`<${Panel} title="History" class="history" hint=${hint} actions=${html`<${Order} isNewestFirst=${isNewestFirst} />`}>
    <${Filter} entries=${entries} only=${only} />
    ${!isNewestFirst && older}
    ${story.count === 0 && html`<${Nothing} entries=${entries} />`}
    <${Story} run=${run} story=${story} most=${most} context=${context} />
    ${story.count > most && html`<p class="more"><${Button} onClick=${() => setMost(most + PAGE * 2)}>
      Show more: ${number(story.count - most)} are left</${Button}></p>`}
    ${isNewestFirst && story.count <= most && older}
  </${Panel}>`;
}

/** Return what tells entries, given one after the other, that say no more than that an attempt failed, which is told. */
function createRepetition() {
  const failed = new Map();
  return ({ kind, step, duration: took, returned }) => {
    if (kind === "attempt_failed") failed.set(step, took);
    return kind === "step_ended" && returned === null && took !== null && failed.get(step) === took && failed.delete(step);
  };
}

/** Return { runs, count }: runs are { id, number, entries, start, end }, in the order in which they are shown. */
function tell(entries, only, isNewestFirst) {
  const kinds = GROUPS.find(([name]) => name === only)?.[2];
  const wanted = kinds && new Set(kinds);
  const runs = [];
  const isTold = createRepetition();
  let shown = 0;
  for (const entry of entries) {
    let run = runs.at(-1);
    if (run?.id !== entry.run_id) {
      run = { id: entry.run_id, number: runs.length + 1, entries: [], start: toMs(entry.time), first: entry };
      runs.push(run);
    }
    run.last = entry;
    if (isTold(entry) || (wanted && !wanted.has(entry.kind))) continue;
    run.entries.push(entry);
    shown += 1;
  }
  if (isNewestFirst) {
    runs.reverse();
    for (const run of runs) run.entries.reverse();
  }
  return { runs, count: shown };
}

function Order({ isNewestFirst }) {
  const change = (event) => setQuery({ order: event.target.value }, { replace: true });
  return html`<label class="check">Order <select class="small" value=${isNewestFirst ? "desc" : ""} onChange=${change}>
    <option value="">oldest first</option><option value="desc">newest first</option></select></label>`;
}

function Filter({ entries, only }) {
  const counts = useMemo(() => {
    const found = new Map();
    for (const { kind } of entries) found.set(kind, (found.get(kind) ?? 0) + 1);
    return GROUPS.map(([name, title, kinds]) => [name, title, kinds.reduce((sum, kind) => sum + (found.get(kind) ?? 0), 0)]);
  }, [entries]);
  const all = [[null, "Everything", entries.length], ...counts];
  return html`<div class="filters" role="group" aria-label="Show">${all.map(([name, title, entriesOf]) => html`
    <button type="button" class="btn small" key=${title} aria-pressed=${only === name} disabled=${entriesOf === 0 && only !== name}
      onClick=${() => setQuery({ kind: name }, { replace: true })}>
      ${title} <span class="num soft">${number(entriesOf)}</span></button>`)}</div>`;
}

function Older({ run }) {
  const [asked, setAsked] = useState(false);
  if (!run.loadMore) return html`<p class="more soft" role="status">Older entries are being loaded…</p>`;
  const load = async () => {
    setAsked(true);
    await run.loadMore();
    setAsked(false);
  };
  return html`<p class="more soft">There are older entries. <${Button} small busy=${asked} onClick=${load}>Load them</${Button}></p>`;
}

function Nothing({ entries }) {
  if (entries.length > 0) {
    return html`<${Empty} title="Nothing of this kind happened">
      <${Button} onClick=${() => setQuery({ kind: null })}>Show everything</${Button}></${Empty}>`;
  }
  return html`<${Empty} title="No history yet">
    <p>What happens to this run is told here, and stays until its handler is deleted.</p></${Empty}>`;
}

function Story({ run, story, most, context }) {
  const handler = useStore(run.store, (value) => value.handler);
  let left = most;
  return story.runs.filter((one) => one.entries.length > 0).map((one) => {
    if (left <= 0) return null;
    const entries = one.entries.slice(0, left);
    left -= entries.length;
    return html`<section key=${one.first.cursor} aria-label=${`Run ${one.number}`}>
      ${(story.runs.length > 1 || handler?.run_id !== one.id) && html`<${RunHead} one=${one} />`}
      <ol class="story">${entries.map((entry, index) => html`<${Entry} key=${entry.cursor} entry=${entry} run=${run} start=${one.start}
        before=${entries[index - 1]} context=${context(entry)} />`)}</ol>
    </section>`;
  });
}

function RunHead({ one }) {
  const took = duration((toMs(one.last.time) - one.start) / 1000);
  const end = ENDS.includes(one.last.kind) ? `${one.last.kind.replace("_", " ")} after ${took}` : "goes on";
  return html`<h3>Run ${one.number} <span class="soft">${end}</span> <${Id} id=${one.id} label="run id" /></h3>`;
}

const dayOf = (entry) => entry?.time && new Date(toMs(entry.time)).toDateString();

function Entry({ entry, run, start, before, context }) {
  const isSelected = useStore(run.store, ({ selection }) => entry.sequence !== null && selection?.sequence === entry.sequence);
  const ms = toMs(entry.time);
  const select = () => run.select({ sequence: entry.sequence, time: ms, step: entry.step });
  const day = dayOf(entry);
  return html`${day && before && day !== dayOf(before) && html`<li class="day" key="day">${day}</li>`}
    <li class="entry ${isSelected ? "selected" : ""} ${entry.kind}" aria-current=${isSelected ? "true" : undefined}>
      ${ms === null ? html`<span class="faint">–</span><span></span>` : html`<button type="button" class="at num"
        title=${`${new Date(ms)}: show it in the graph and the timeline`} onClick=${select}>${exact(ms)}</button>
      <span class="num faint">+${duration((ms - start) / 1000)}</span>`}
      <span class="said ${toneOf(entry)}"><${Sentence} entry=${entry} context=${context} />.
        ${entry.traceback && html`<details><summary>traceback</summary>
          <pre class="raw"><bdi>${entry.traceback}</bdi></pre></details>`}</span>
    </li>`;
}
