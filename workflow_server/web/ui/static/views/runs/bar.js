// What narrows the list: search, workflows, tags, time; and chips of what is set.
import { html, useEffect, useRef, useState } from "../../lib.js";
import { Menu } from "../../components/menu.js";
import { go, href } from "../../router.js";
import { SPANS, cleared, isByEnd, isNarrowed, toHash } from "./filter.js";
import { Choices } from "./menu.js";

const TYPING = 250; // Milliseconds without a key, after which is searched.

const hasKeys = () => !matchMedia("(pointer: coarse)").matches;
const isTyped = (element) => element?.matches?.("input, textarea, select, [contenteditable]");

/** Call `action` when a key is pressed that is not part of a text or of a dialog. */
export function useKey(keys, action) {
  const latest = useRef(action);
  latest.current = action;
  useEffect(() => {
    const onKey = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (!keys.includes(event.key) || isTyped(event.target) || document.querySelector("dialog[open]")) return;
      latest.current(event);
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

function Search({ value, onChange }) {
  const [text, setText] = useState(value);
  const input = useRef(null);
  const timer = useRef(null);
  useEffect(() => {
    // A link or "back" has changed it; while it is typed, the hash comes after.
    if (document.activeElement !== input.current || value === "") setText(value);
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  useKey(["/"], (event) => {
    event.preventDefault();
    input.current.focus();
    input.current.select();
  });
  const set = (next, wait) => {
    setText(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onChange(next.trim()), wait);
  };
  const onKeyDown = (event) => {
    if (event.key === "Enter") set(text, 0);
    if (event.key !== "Escape") return;
    if (text === "") input.current.blur();
    else set("", 0);
  };
  return html`<input ref=${input} type="search" class="search" aria-label="Search runs" aria-keyshortcuts="/" maxlength="200"
    placeholder=${`Search id, workflow, tag, error…${hasKeys() ? "  ( / )" : ""}`} autocomplete="off" spellcheck=${false} value=${text}
    onInput=${(event) => set(event.target.value, TYPING)} onKeyDown=${onKeyDown} />`;
}

/** Return the value of a field for a local time, of a time in ISO format. */
function toField(iso) {
  if (iso === null) return "";
  const time = new Date(iso);
  return new Date(time - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

const fromField = (text) => (text === "" ? null : new Date(text).toISOString());

function Times({ filter, onChange }) {
  const isSet = Boolean(filter.since || filter.after || filter.before || filter.endedAfter);
  const label = filter.since ? SPANS[filter.since].title : isSet ? "Time: set" : "Any time";
  const submit = (event, close) => {
    event.preventDefault();
    const data = new FormData(event.target);
    const time = (name) => fromField(data.get(name));
    onChange({ since: null, after: time("after"), before: time("before"), endedAfter: time("endedAfter") });
    close();
  };
  const choose = (since, close) => {
    onChange({ since, after: null, before: null, endedAfter: null });
    close();
  };
  const panel = (close) => html`
    <div class="menu-options">
      ${[[null, { title: "Any time" }], ...Object.entries(SPANS)].map(([since, span]) => html`
        <button type="button" key=${since} class="btn quiet" aria-pressed=${filter.since === since ? "true" : "false"}
          onClick=${() => choose(since, close)}>${span.title}</button>`)}
    </div>
    <form class="menu-times" onSubmit=${(event) => submit(event, close)}>
      <label>Started after <input type="datetime-local" name="after" defaultValue=${toField(filter.after)} /></label>
      <label>Started before <input type="datetime-local" name="before" defaultValue=${toField(filter.before)} /></label>
      <label>Ended after <input type="datetime-local" name="endedAfter" defaultValue=${toField(filter.endedAfter)} /></label>
      <button class="btn small">Apply</button>
    </form>`;
  return html`<${Menu} label=${html`<span class=${isSet ? "set" : ""}>${label}</span>`} title=${isByEnd(filter) ? "Ended" : "Started"} small=${false}>${panel}</${Menu}>`;
}

/** Return how often each value occurs, the most frequent first, as options of a menu. */
function options(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([, one], [, other]) => other - one).slice(0, 40).map(([value]) => ({ value }));
}

function workflowOptions(stats) {
  const named = Object.entries(stats?.workflows ?? {}).map(([value, counts]) => ({
    value, count: Object.values(counts).reduce((total, one) => total + one, 0),
  }));
  return named.sort((one, other) => other.count - one.count);
}

export function Bar({ filter, stats, rows }) {
  const set = (changes, how) => go(href(["runs"], toHash({ ...filter, ...changes })), how);
  const versions = options(rows.map((row) => row.code_version).filter(Boolean));
  return html`<div class="bar" role="search">
    <${Search} value=${filter.q} onChange=${(q) => set({ q }, { replace: true })} />
    <${Choices} title="Workflow" options=${workflowOptions(stats)} chosen=${filter.workflows}
      onChange=${(workflows) => set({ workflows })} empty="No workflow has runs yet." />
    <${Choices} title="Tags" options=${options(rows.flatMap((row) => row.tags))} chosen=${filter.tags}
      onChange=${(tags) => set({ tags })} other="A tag" empty="No run of this list has a tag." />
    ${(versions.length > 1 || filter.versions.length > 0) && html`<${Choices} title="Code" options=${versions}
      chosen=${filter.versions} onChange=${(found) => set({ versions: found })} empty="" />`}
    <${Times} filter=${filter} onChange=${set} />
    <button type="button" class="btn" onClick=${() => set({ oldestFirst: !filter.oldestFirst })}
      aria-label="Order: ${filter.oldestFirst ? "oldest" : "newest"} first">
      <span aria-hidden="true">${filter.oldestFirst ? "↑ Oldest" : "↓ Newest"} first</span></button>
  </div>`;
}

/** Chips of what narrows the list: a click takes one away. */
export function Chips({ filter }) {
  if (!isNarrowed(filter)) return null;
  const set = (changes) => go(href(["runs"], toHash({ ...filter, ...changes })));
  const time = (iso) => new Date(iso).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  const without = (name, value) => ({ [name]: filter[name].filter((one) => one !== value) });
  const chips = [
    filter.q && ["contains", filter.q, { q: "" }],
    ...filter.workflows.map((name) => ["workflow", name, without("workflows", name)]),
    ...filter.tags.map((tag) => ["tag", tag, without("tags", tag)]),
    ...filter.versions.map((version) => ["code", version, without("versions", version)]),
    filter.since && [isByEnd(filter) ? "ended" : "started", SPANS[filter.since].title.toLowerCase(), { since: null }],
    filter.after && ["after", time(filter.after), { after: null }],
    filter.before && ["before", time(filter.before), { before: null }],
    filter.endedAfter && ["ended after", time(filter.endedAfter), { endedAfter: null }],
  ].filter(Boolean);
  return html`<ul class="chips" aria-label="Filters">
    ${chips.map(([name, value, changes]) => html`<li key=${`${name} ${value}`}>
      <button type="button" class="chip" onClick=${() => set(changes)} aria-label="Remove the filter ${name}: ${value}">
        <span class="soft">${name}</span> <bdi>${value}</bdi> <span aria-hidden="true">×</span></button></li>`)}
    <li><a class="link" href=${href(["runs"], toHash(cleared(filter)))}>Clear filters</a></li>
  </ul>`;
}
