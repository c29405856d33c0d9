// The workflows, and one of them: how its runs fare, its graph and what it takes.
import { Chart, Tile } from "../charts.js";
import { Empty, Failure, Notice, Panel } from "../components/basics.js";
import { count, duration, number, percent, toMs } from "../format.js";
import { useLoaded, useTitle } from "../hooks.js";
import { html } from "../lib.js";
import { href } from "../router.js";
import { useMay } from "../store.js";
import { WorkflowGraph } from "./run/graph.js";
import { WorkflowCards } from "./workflows/cards.js";
import { PERIODS, PeriodChooser, periodOf } from "./workflows/period.js";
import { RecentRuns } from "./workflows/recent.js";
import { EventSchemas } from "./workflows/schemas.js";
import { StepTable } from "./workflows/steps.js";

const EVERY = 10_000; // milliseconds

export function WorkflowsView({ query }) {
  useTitle("Workflows");
  const { value, error, loading, reload } = useLoaded("workflows");
  const names = value?.workflows ?? [];
  return html`<div class="page-head"><h1>Workflows</h1><span class="actions"><${PeriodChooser} query=${query} /></span></div>
    <${Failure} error=${error} onRetry=${reload} />
    ${value === null && loading && html`<p class="soft">Loading…</p>`}
    ${value !== null && names.length === 0 && html`<${Empty} title="No workflows yet"><p>Add one to the server: <code>server.add_workflow("name", MyWorkflow())</code>, or serve a file of them.</p></${Empty}>`}
    <${WorkflowCards} names=${names} period=${periodOf(query)} />`;
}

export function WorkflowView({ name, query }) {
  useTitle(name);
  const mayRun = useMay("run");
  const period = periodOf(query);
  const stats = useLoaded(["workflows", name, "stats"], { period }, { every: EVERY });
  const graph = useLoaded(["workflows", name, "representation"]);
  const isUnknown = graph.error?.status === 404;
  return html`<div class="page-head">
      <a class="soft" href=${href(["workflows"])}>Workflows /</a><h1><bdi>${name}</bdi></h1>
      <span class="actions"><${PeriodChooser} query=${query} />
        <a class="btn" href=${href(["runs"], { workflow: name })}>Its runs</a>
        ${mayRun && !isUnknown && html`<a class="btn primary" href=${href(["start", name])}>Start ${name}</a>`}</span>
    </div>
    ${isUnknown && html`<${Notice} kind="warning">This workflow is not registered: its runs are kept, and go on when it is.</${Notice}>`}
    <${Failure} error=${stats.error?.status === 404 ? null : stats.error} onRetry=${stats.reload} />
    ${stats.value !== null && html`<${Figures} name=${name} stats=${stats.value} />`}
    <div class="workflow-grid">
      ${!isUnknown && html`<${Panel} title="Graph" class="graph-panel">
        <${Failure} error=${graph.error} onRetry=${graph.reload} />
        ${graph.value !== null && html`<${WorkflowGraph} graph=${graph.value.graph} />`}
      </${Panel}>`}
      <div class="stack">
        <${RecentRuns} name=${name} />
        ${stats.value !== null && html`<${StepTable} steps=${stats.value.steps} />`}
      </div>
    </div>
    ${!isUnknown && html`<${EventSchemas} name=${name} />`}`;
}

function Figures({ name, stats }) {
  const { runs, success_rate: rate, duration: took } = stats;
  const ended = runs.completed + runs.failed + runs.cancelled;
  const since = stats.since;
  return html`<section class="tiles" aria-label="Figures">
      <${Tile} title="Ended" value=${number(ended)} hint=${`in the last ${PERIODS[stats.period] ?? stats.period}`} link=${href(["runs"], { workflow: name, ended_after: since })} />
      <${Tile} title="Success rate" value=${percent(rate)} kind=${rate === null ? "" : rate < 0.9 ? "bad" : "good"} hint="completed, not failed" />
      <${Tile} title="Failed" value=${number(runs.failed)} hint=${percent(ended > 0 ? runs.failed / ended : null)} kind=${runs.failed > 0 ? "bad" : ""} link=${href(["runs"], { workflow: name, show: "failed", ended_after: since })} />
      <${Tile} title="Running now" value=${number(runs.running)} link=${href(["runs"], { workflow: name, show: "unfinished" })} />
      <${Tile} title="Duration, p50" value=${duration(took.p50)} hint="half take no longer" />
      <${Tile} title="Duration, p95" value=${duration(took.p95)} hint=${took.max === null ? null : `the longest ${duration(took.max)}`} />
    </section>
    ${stats.sampled && html`<${Notice} kind="info">There are more runs in this time than are read: the figures are of the latest 100,000.</${Notice}>`}
    <div class="chart-grid"><${Throughput} buckets=${stats.buckets} /><${Durations} buckets=${stats.buckets} /></div>`;
}

const timesOf = (buckets) => buckets.map((bucket) => toMs(bucket.from));

function Throughput({ buckets }) {
  const completed = buckets.map((bucket) => bucket.completed);
  const failed = buckets.map((bucket) => bucket.failed);
  // Stacked: the bars of both are behind those of the failed alone.
  const both = completed.map((value, index) => value + failed[index]);
  const total = completed.reduce((sum, value) => sum + value, 0);
  const wrong = failed.reduce((sum, value) => sum + value, 0);
  return html`<${Panel} title="Ended runs" hint="over time">
    <${Chart} times=${timesOf(buckets)} format=${(value) => number(Math.round(value * 10) / 10)}
      summary=${`Runs over time: ${count(total, "run")} completed and ${wrong} failed`}
      series=${[{ label: "completed", values: both, raw: completed, colour: "--done", kind: "bars" }, { label: "failed", values: failed, colour: "--failed", kind: "bars" }]} />
  </${Panel}>`;
}

function Durations({ buckets }) {
  const p50 = buckets.map((bucket) => bucket.p50);
  const p95 = buckets.map((bucket) => bucket.p95);
  const last = [...p50].reverse().find((value) => value !== null) ?? null;
  return html`<${Panel} title="Durations" hint="of completed runs">
    <${Chart} times=${timesOf(buckets)} format=${duration} summary=${`Durations over time: half of the latest took at most ${duration(last)}`}
      series=${[{ label: "p95", values: p95, colour: "--waiting", kind: "line", dashed: true }, { label: "p50", values: p50, colour: "--accent", kind: "line" }]} />
  </${Panel}>`;
}
