// The state of the server: is it well, what does it hold, and what would a deploy say.
import { Button, Empty, Failure, Id, Notice, Panel, Text, Time } from "../components/basics.js";
import { bytes, count, duration, number } from "../format.js";
import { useLoaded, useTitle } from "../hooks.js";
import { html } from "../lib.js";
import { href } from "../router.js";
import { Tile } from "../charts.js";
import { LiveTiles } from "./server/live.js";

const EVERY = 2000; // milliseconds

export function ServerView() {
  useTitle("Server");
  const { value, error, loading, reload } = useLoaded("server", {}, { every: EVERY });
  if (value === null) {
    return html`<h1>Server</h1>${error ? html`<${Failure} error=${error} onRetry=${reload} />` : loading && html`<p class="soft">Loading…</p>`}`;
  }
  return html`<div class="page-head"><h1>Server</h1><${Health} server=${value} /></div>
    <${Failure} error=${error} onRetry=${reload} />
    <${Problem} server=${value} />
    <${RunsNow} runs=${value.runs} />
    <${LiveTiles} server=${value} />
    <div class="server-grid">
      <${Deploy} server=${value} />
      <${Database} server=${value} />
      <${Versions} server=${value} />
    </div>`;
}

function Health({ server }) {
  const [word, kind] = server.problem ? ["cannot commit", "failed"] : server.is_ready ? ["healthy", "completed"] : ["starting", "waiting"];
  return html`<span class="status ${kind}">${word}</span>`;
}

function Problem({ server }) {
  if (!server.problem) return null;
  return html`<${Notice}>The store cannot commit: <${Text}>${server.problem}</${Text}> Nothing that was accepted is lost; new work is refused until this is mended.</${Notice}>`;
}

const STATES = [
  ["running", "Running", "running", "in a step, or about to be"],
  ["waiting", "Waiting for you", "waiting", "for an answer or an event"],
  ["released", "Released", "running", "wait outside of memory"],
  ["queued", "Queued", "running", "until another run ends"],
  ["suspended", "Suspended", "suspended", "do not fit the code, or crashed"],
  ["stalled", "Stalled", "stalled", "nothing can happen in them"],
];

function RunsNow({ runs }) {
  return html`<section class="tiles" aria-label="Runs that go on">${STATES.map(([key, title, show, hint]) => html`
    <${Tile} key=${key} title=${title} hint=${hint} value=${number(runs[key] ?? 0)}
      kind=${(runs[key] ?? 0) > 0 && ["waiting", "suspended", "stalled"].includes(key) ? "waits" : ""} link=${href(["runs"], { show })} />`)}
  </section>`;
}

/** What `workflow-server check` says of the code that is served now. */
function Deploy({ server }) {
  const { suspended, code_versions: versions, resume } = server;
  return html`<${Panel} title="Runs and their code" class="wide" hint=${resume.seconds === null ? null : `resumed ${count(resume.resumed, "run")} in ${duration(resume.seconds)} at the start`}>
    <div class="inner">${suspended.length === 0
      ? html`<p><span class="status completed">all fit</span> <span class="soft">Every run that goes on fits the code that is served.</span></p>`
      : html`<p class="soft">These do not go on. They are kept, and go on by themselves when the code fits again; <a class="link" href=${href(["runs"], { show: "suspended" })}>see them in the list</a>.</p>`}</div>
    ${suspended.length > 0 && html`<table class="rows"><thead><tr><th>Run</th><th>Workflow</th><th>Reason</th></tr></thead><tbody>${suspended.map((one) => html`
      <tr key=${one.handler_id}><td><a class="link mono" href=${href(["runs", one.handler_id])}><bdi>${one.handler_id}</bdi></a></td>
        <td><${Text}>${one.workflow_name}</${Text}></td><td><${Text}>${one.reason}</${Text}></td></tr>`)}</tbody></table>`}
    ${versions.length > 0 && html`<table class="rows"><thead><tr><th>Workflow</th><th>Code that is served</th><th>Runs that go on, by their code</th></tr></thead>
      <tbody>${versions.map((one) => html`<tr key=${one.workflow_name}>
        <td><a class="link" href=${href(["workflows", one.workflow_name])}><bdi>${one.workflow_name}</bdi></a></td>
        <td>${one.registered === null ? html`<span class="soft">not registered</span>` : html`<${Id} id=${one.registered} label="code version" />`}</td>
        <td>${versionsOf(one)}</td></tr>`)}</tbody></table>`}
  </${Panel}>`;
}

function versionsOf({ workflow_name: name, registered, runs }) {
  const found = Object.entries(runs);
  if (found.length === 0) return html`<span class="soft">none</span>`;
  return found.map(([version, runsOfIt]) => html`<a key=${version} class="tag ${version === registered ? "" : "other"}"
    href=${href(["runs"], { workflow: name, version, show: "unfinished" })}>
    ${version === registered ? count(runsOfIt, "run") : html`${count(runsOfIt, "run")} of <bdi class="mono">${version || "none"}</bdi> (other code)`}</a>`);
}

function Database({ server }) {
  const { database, commits } = server;
  return html`<${Panel} title="Database"><dl class="figures">
    <dt>File</dt><dd class="num">${bytes(database.file_bytes)}</dd>
    <dt>Free on the disk</dt><dd class="num">${bytes(database.free_bytes)}</dd>
    <dt>Write-ahead log</dt><dd class="num">${bytes(database.wal_bytes)}</dd>
    <dt>Commits since the start</dt><dd class="num">${number(commits.count)}, <span class="soft">with ${number(commits.records)} records</span></dd>
    <dt>A commit takes</dt><dd class="num">p50 ${duration(commits.p50)}, p95 ${duration(commits.p95)}, p99 ${duration(commits.p99)}</dd>
  </dl></${Panel}>`;
}

function Versions({ server }) {
  return html`<${Panel} title="Process"><dl class="figures">
    <dt>Started</dt><dd><${Time} iso=${server.started_at} relative=${true} /></dd>
    <dt>Memory</dt><dd class="num">${bytes(server.memory_bytes)}</dd>
    <dt>workflow_server</dt><dd class="num">${server.version}</dd>
    <dt>llama-index-workflows</dt><dd class="num">${server.engine}</dd>
    <dt>aiohttp</dt><dd class="num">${server.aiohttp}</dd>
    <dt>Python</dt><dd class="num">${server.python}</dd>
    <dt>SQLite</dt><dd class="num">${server.sqlite}</dd>
  </dl><div class="inner"><a class="link" href="openapi.json">API description</a> · <a class="link" href="metrics">Metrics</a></div></${Panel}>`;
}
