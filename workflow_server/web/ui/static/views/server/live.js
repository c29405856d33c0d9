// Figures of the last minutes: differences between what the server has counted since its start.
import { Sparkline, Tile } from "../../charts.js";
import { bytes, duration, number, toMs } from "../../format.js";
import { html, useRef } from "../../lib.js";

const KEPT = 90; // samples

/** Return what happened between two answers of GET /server, per second; nulls for the first, and after a restart. */
export function between(before, after) {
  const seconds = before === null ? 0 : (toMs(after.now) - toMs(before.now)) / 1000;
  const isSame = before !== null && before.started_at === after.started_at && seconds > 0;
  const rate = (pick) => (isSame ? Math.max(0, pick(after) - pick(before)) / seconds : null);
  const commits = isSame ? after.commits.count - before.commits.count : 0;
  const total = (server) => server.commits.count * (server.commits.mean_seconds ?? 0);
  return {
    at: after.now,
    commits: rate((server) => server.commits.count),
    records: rate((server) => server.commits.records),
    requests: rate((server) => server.requests.count),
    errors: rate((server) => server.requests.errors),
    latency: commits > 0 ? Math.max(0, total(after) - total(before)) / commits : null,
    lag: after.loop_lag?.p95 ?? null,
    streams: after.streams,
    wal: after.database.wal_bytes,
    memory: after.memory_bytes,
    backlog: after.commits.backlog,
  };
}

/** Return the samples of the last minutes: one more for each answer that is new. */
function useSamples(server) {
  const kept = useRef({ last: null, samples: [] });
  if (kept.current.last === null || kept.current.last.now !== server.now) {
    const sample = between(kept.current.last, server);
    kept.current = { last: server, samples: [...kept.current.samples, sample].slice(-KEPT) };
  }
  return kept.current.samples;
}

const perSecond = (value) => (value === null ? "–" : `${value < 10 ? value.toFixed(1) : number(Math.round(value))}/s`);

const TILES = [
  ["commits", "Commits", perSecond, "--accent"],
  ["latency", "A commit takes", duration, "--accent"],
  ["records", "Records", perSecond, "--accent"],
  ["requests", "Requests", perSecond, "--accent"],
  ["errors", "Requests with 5xx", perSecond, "--failed"],
  ["lag", "Event loop is late by (p95)", duration, "--waiting"],
  ["streams", "Open streams", number, "--accent"],
  ["backlog", "Records that wait", number, "--waiting"],
  ["wal", "Write-ahead log", bytes, "--accent"],
  ["memory", "Memory", bytes, "--accent"],
];

export function LiveTiles({ server }) {
  const samples = useSamples(server);
  const last = samples[samples.length - 1];
  return html`<section class="tiles live" aria-label="The last minutes">${TILES.map(([key, title, format, colour]) => html`
    <${Tile} key=${key} title=${title} value=${format(last[key])}>
      <${Sparkline} values=${samples.map((sample) => sample[key])} colour=${colour} label=${`${title} over the last minutes, now ${format(last[key])}`} />
    </${Tile}>`)}</section>`;
}
