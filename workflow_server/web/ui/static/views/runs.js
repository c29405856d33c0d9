// The list of runs.
import { Button, Empty, Failure, announce } from "../components/basics.js";
import { useChanges } from "../changes.js";
import { count, number } from "../format.js";
import { useLoaded, useThrottled, useTitle } from "../hooks.js";
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../lib.js";
import { href } from "../router.js";
import { useMay } from "../store.js";
import { Bar, Chips } from "./runs/bar.js";
import { BulkBar } from "./runs/bulk.js";
import { Counts } from "./runs/counts.js";
import { VIEWS, cleared, isNarrowed, readFilter, toHash } from "./runs/filter.js";
import { focusRun, useRuns } from "./runs/list.js";
import { Table } from "./runs/table.js";

const READING = 4000; // Milliseconds after the pointer moved over the list, in which its rows stay where they are.

/** Return a function that tells whether the reader is in the list, so that no row may move. */
function useHeld(box) {
  const moved = useRef(0);
  useEffect(() => {
    const element = box.current;
    const onMove = () => {
      moved.current = Date.now();
    };
    const onLeave = () => {
      moved.current = 0;
    };
    element.addEventListener("pointermove", onMove);
    element.addEventListener("pointerleave", onLeave);
    return () => {
      element.removeEventListener("pointermove", onMove);
      element.removeEventListener("pointerleave", onLeave);
    };
  }, []);
  return useCallback(() => {
    const isScrolled = box.current !== null && box.current.getBoundingClientRect().top < 0;
    return isScrolled || Date.now() - moved.current < READING || Boolean(document.activeElement?.closest?.("tr.run"));
  }, []);
}

function useStats() {
  const stats = useLoaded("handlers/stats", {}, { every: 30_000 });
  const reload = useThrottled(stats.reload, 1500);
  useChanges(reload);
  return stats;
}

/** Return how many runs a filter has, where the counts tell. */
function totalOf(filter, stats) {
  if (stats === null) return null;
  const { span = null, count: counted } = VIEWS[filter.show];
  const others = { ...filter, since: filter.since === span ? null : filter.since };
  if (isNarrowed(others) || (span !== null && filter.since !== span)) return null;
  return counted(stats);
}

export function RunsView({ query }) {
  useTitle("Runs");
  const key = query.toString();
  const filter = useMemo(() => readFilter(query), [key]);
  const box = useRef(null);
  const runs = useRuns(filter, useHeld(box));
  const { value: stats, error: uncounted } = useStats();
  const [chosen, setChosen] = useState(new Map());
  useEffect(() => setChosen(new Map()), [filter]);
  const mayRun = useMay("run");
  const isOther = runs.filter !== filter && JSON.stringify(runs.filter) !== JSON.stringify(filter);
  const total = totalOf(filter, stats);
  return html`<div class="runs-view">
    <h1 class="offscreen">Runs</h1>
    <${Counts} stats=${stats} filter=${filter} />
    <${Bar} filter=${filter} stats=${stats} rows=${runs.rows} />
    <${Chips} filter=${filter} />
    <${Failure} error=${runs.error ?? (stats === null ? uncounted : null)} onRetry=${runs.reload} />
    <section class="panel list ${isOther ? "other" : ""}" aria-label="List of runs" ref=${box}>
      <${Fresh} runs=${runs} box=${box} />
      ${mayRun && html`<${BulkBar} filter=${filter} rows=${runs.rows} chosen=${chosen} total=${total}
        onChosen=${setChosen} onDone=${runs.refresh} isOther=${isOther} />`}
      ${runs.rows.length > 0
        ? html`<${Table} rows=${runs.rows} gone=${runs.gone} news=${runs.news} filter=${runs.filter} chosen=${chosen}
            onChosen=${mayRun ? setChosen : null} label="Runs" isBusy=${isOther} />`
        : html`<${Nothing} runs=${runs} filter=${filter} stats=${stats} isOther=${isOther} />`}
    </section>
    <${Foot} runs=${runs} total=${isOther ? null : total} />
  </div>`;
}

/** Announces what has come while the reader was in the list. */
function Fresh({ runs, box }) {
  const many = runs.isFull ? `${number(runs.fresh.length)} or more new runs` : count(runs.fresh.length, "new run");
  const show = () => {
    const [first] = runs.fresh;
    const told = `${many} ${runs.fresh.length === 1 ? "is" : "are"} shown`;
    runs.apply();
    box.current.scrollIntoView({ block: "start" });
    requestAnimationFrame(() => focusRun(first.handler_id));
    announce(told);
  };
  return html`<div class="fresh" role="status">${runs.fresh.length > 0 && html`
    <${Button} primary small onClick=${show}>${many}</${Button}>`}</div>`;
}

const NOTHING = {
  waiting: ["Nothing waits for you", "A run that waits for an event, such as the answer of a human, is listed here until it comes."],
  failed: ["Nothing has failed in the last 24 hours", "Runs that fail are listed here, with the error and the step."],
  suspended: ["Nothing is suspended", "Runs that do not fit the code any more, or whose workflow is not served, are listed here."],
  running: ["Nothing is running", "Runs are listed here from their start to their end."],
};

function Nothing({ runs, filter, stats, isOther }) {
  const mayRun = useMay("run");
  if (runs.error !== null) return null;
  if (isOther || runs.loading === "first") return html`<div class="empty soft" aria-busy="true">Loading…</div>`;
  const none = stats !== null && VIEWS.all.count(stats) === 0;
  if (none) {
    return html`<${Empty} title="No runs yet">
      <p>A run is one start of a workflow. It is listed here from its start on, and stays after its end.</p>
      ${mayRun && html`<a class="btn primary" href=${href(["start"])}>Start a run</a>`}
      <p class="or">or: <code class="mono">curl -X POST ${new URL("workflows/NAME/run-nowait", document.baseURI).href}</code></p>
    </${Empty}>`;
  }
  const narrowed = isNarrowed({ ...filter, since: filter.since === VIEWS[filter.show].span ? null : filter.since });
  const [title, hint] = narrowed ? ["No run matches these filters", ""] : NOTHING[filter.show] ?? ["No such runs", ""];
  return html`<${Empty} title=${title}><p>${hint}</p>
    <a class="btn" href=${href(["runs"], toHash(cleared(filter)))}>${narrowed ? "Clear filters" : "Show all runs"}</a>
  </${Empty}>`;
}

function Foot({ runs, total }) {
  const shown = runs.rows.length;
  const { loading, filter } = runs;
  const isMore = runs.cursor !== null || runs.isCut;
  const before = useRef(0);
  useEffect(() => {
    // The button is gone after the last page: the focus goes on with the first run that came.
    if (loading === null && !isMore && before.current > 0 && shown > before.current && document.activeElement === document.body) {
      focusRun(runs.rows[before.current].handler_id);
    }
    if (loading === null) before.current = 0;
  }, [loading]);
  const more = () => {
    before.current = shown;
    runs.more();
  };
  if (filter === null || (shown === 0 && !isMore)) return null;
  const of = total === null || total < shown ? "" : ` of ${number(total)}`;
  return html`<p class="foot soft">
    <span class="num">${count(shown, "run")}${isMore ? of : ""} · ${filter.oldestFirst ? "oldest" : "newest"} first</span>
    ${isMore && html`<${Button} onClick=${more} aria-disabled=${loading === "more" ? "true" : undefined}>
      ${loading === "more" ? "Loading…" : shown === 0 ? "Look further back" : "Load more"}</${Button}>`}
  </p>`;
}
