// All workflows at a glance: each with its figures, which come one after the other.
import { get } from "../../api.js";
import { Sparkline } from "../../charts.js";
import { Text } from "../../components/basics.js";
import { count, duration, number, percent } from "../../format.js";
import { html, useEffect, useState } from "../../lib.js";
import { href } from "../../router.js";
import { useMay } from "../../store.js";
import { PERIODS } from "./period.js";

const AT_ONCE = 3; // requests: the browser has six connections, and streams hold some
const EVERY = 15_000; // milliseconds

/** Load the figures of all workflows again and again: { NAME: stats, or { error } }. */
function useAllStats(names, period) {
  const [stats, setStats] = useState({});
  useEffect(() => {
    const controller = new AbortController();
    let timer = null;
    const one = async (name) => {
      try {
        const found = await get(["workflows", name, "stats"], { period }, { signal: controller.signal });
        setStats((before) => ({ ...before, [name]: found }));
      } catch (error) {
        if (error.name !== "AbortError") setStats((before) => (before[name] ? before : { ...before, [name]: { error } }));
      }
    };
    const all = async () => {
      const left = document.hidden ? [] : [...names];
      await Promise.all(Array.from({ length: AT_ONCE }, async () => {
        while (left.length > 0 && !controller.signal.aborted) await one(left.shift());
      }));
      if (!controller.signal.aborted) timer = setTimeout(all, EVERY);
    };
    setStats({});
    all();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [names.join("\n"), period]);
  return stats;
}

export function WorkflowCards({ names, period }) {
  const stats = useAllStats(names, period);
  return html`<ul class="cards">${names.map((name) => html`<li key=${name}><${Card} name=${name} stats=${stats[name] ?? null} /></li>`)}</ul>`;
}

function Card({ name, stats }) {
  const mayRun = useMay("run");
  return html`<article class="panel card">
    <header><h2><a href=${href(["workflows", name])}><${Text}>${name}</${Text}></a></h2>
      ${mayRun && html`<span class="actions"><a class="btn small" href=${href(["start", name])} aria-label=${`Start ${name}`}>Start</a></span>`}</header>
    ${stats === null && html`<p class="inner soft">Loading…</p>`}
    ${stats?.error && html`<p class="inner soft"><${Text}>${stats.error.detail}</${Text}></p>`}
    ${stats?.runs && html`<${Figures} name=${name} stats=${stats} />`}
  </article>`;
}

function Figures({ name, stats }) {
  const { runs, success_rate: rate } = stats;
  const ended = runs.completed + runs.failed + runs.cancelled;
  const started = stats.buckets.map((bucket) => bucket.started);
  if (ended + runs.running === 0) return html`<p class="inner soft">No runs in this time.</p>`;
  return html`<div class="inner">
    <p class="card-caption faint">started, last ${PERIODS[stats.period] ?? stats.period}</p>
    <${Sparkline} values=${started} label=${`${name}: ${count(started.reduce((sum, value) => sum + value, 0), "run")} started in this time`} height=${44} width=${300} />
    <dl class="card-facts">
      <div><dt>ended</dt><dd class="num">${number(ended)}</dd></div>
      <div><dt>running</dt><dd class="num">${number(runs.running)}</dd></div>
      <div><dt>failed</dt><dd class="num ${runs.failed > 0 ? "bad" : ""}">${runs.failed > 0
        ? html`<a href=${href(["runs"], { workflow: name, show: "failed", ended_after: stats.since })}>${number(runs.failed)}</a>` : 0}</dd></div>
      <div><dt>success</dt><dd class="num">${percent(rate)}</dd></div>
      <div><dt>duration p50</dt><dd class="num">${duration(stats.duration.p50)}</dd></div>
      <div><dt>duration p95</dt><dd class="num">${duration(stats.duration.p95)}</dd></div>
    </dl></div>`;
}
