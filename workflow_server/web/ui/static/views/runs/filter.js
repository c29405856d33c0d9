// Which runs are seen. The filter is in the hash; the server reads it for the list, the page for what changes.
import { toMs } from "../../format.js";
import { statusOf } from "../../status.js";

const HOUR = 3_600_000;

/** Spans of time before now, by their name in the hash. */
export const SPANS = {
  "1h": { title: "Last hour", phrase: "in the last hour", length: HOUR },
  "24h": { title: "Last 24 hours", phrase: "in the last 24 hours", length: 24 * HOUR },
  "7d": { title: "Last 7 days", phrase: "in the last 7 days", length: 7 * 24 * HOUR },
  "30d": { title: "Last 30 days", phrase: "in the last 30 days", length: 30 * 24 * HOUR },
};

/**
 * The views of the list, in the order of the counts above it: `statuses` and, where only some of the running runs are
 * meant, `states`, as in GET /handlers?now=. `count` takes the answer of GET /handlers/stats. A `rare` view is only shown
 * where it has runs, one that `isLinkedOnly` where a link leads to it. A span of time is that of the starts; with `byEnd`,
 * of the ends. `span` is the one that it begins with.
 */
export const VIEWS = {
  all: { title: "all", statuses: null, phrase: "all runs", count: ({ total }) => sum(Object.values(total)) },
  running: {
    title: "running", kind: "running", statuses: ["running"], states: ["running", "queued", "released"], phrase: "running runs",
    count: ({ now }) => sum([now.running, now.queued, now.released]),
  },
  waiting: {
    title: "waiting for you", kind: "waiting", statuses: ["running"], states: ["waiting"], phrase: "runs that wait for a human",
    count: ({ now }) => now.waiting,
  },
  failed: {
    title: "failed, 24 h", kind: "failed", statuses: ["failed"], byEnd: true, span: "24h", phrase: "failed runs",
    count: (stats) => stats.failed_recently,
  },
  suspended: {
    title: "suspended", kind: "waiting", statuses: ["running"], states: ["suspended"], phrase: "suspended runs",
    count: ({ now }) => now.suspended,
  },
  unfinished: {
    title: "not ended", kind: "running", statuses: ["running"], isLinkedOnly: true, phrase: "runs that have not ended",
    count: ({ total }) => total.running,
  },
  stalled: {
    title: "stalled", kind: "waiting", statuses: ["running"], states: ["stalled"], rare: true, phrase: "stalled runs",
    count: ({ now }) => now.stalled,
  },
  completed: {
    title: "completed", kind: "completed", statuses: ["completed"], byEnd: true, phrase: "completed runs",
    count: ({ total }) => total.completed,
  },
  cancelled: {
    title: "cancelled", kind: "cancelled", statuses: ["cancelled"], byEnd: true, rare: true, phrase: "cancelled runs",
    count: ({ total }) => total.cancelled,
  },
};

const sum = (numbers) => numbers.reduce((total, one) => total + (one ?? 0), 0);

/** Return the filter that a hash's query describes; what is not valid in it is left out. */
export function readFilter(query) {
  const show = query.get("show");
  const time = (name) => (Number.isNaN(Date.parse(query.get(name) ?? "")) ? null : query.get(name));
  return {
    show: Object.hasOwn(VIEWS, show) ? show : "all",
    workflows: query.getAll("workflow"),
    tags: query.getAll("tag"),
    versions: query.getAll("version"),
    q: (query.get("q") ?? "").slice(0, 200),
    since: Object.hasOwn(SPANS, query.get("since")) ? query.get("since") : null,
    after: time("after"),
    before: time("before"),
    endedAfter: time("ended_after"),
    oldestFirst: query.get("order") === "asc",
  };
}

/** Return the query of the hash for a filter: the reverse of readFilter. */
export function toHash(filter) {
  return {
    show: filter.show === "all" ? null : filter.show,
    workflow: filter.workflows, tag: filter.tags, version: filter.versions, q: filter.q,
    since: filter.since, after: filter.after, before: filter.before,
    ended_after: filter.endedAfter, order: filter.oldestFirst ? "asc" : null,
  };
}

/** Return the query of a view: it keeps the other filters, but for the span of time that another view brought. */
export function hashOfView(filter, show) {
  const brought = VIEWS[filter.show].span;
  const kept = filter.since === brought ? null : filter.since;
  return toHash({ ...filter, show, since: VIEWS[show].span ?? kept });
}

/** Return whether anything but the view narrows the list. */
export const isNarrowed = ({ workflows, tags, versions, q, since, after, before, endedAfter }) =>
  workflows.length + tags.length + versions.length > 0 || Boolean(q || since || after || before || endedAfter);

/** Return a filter that shows everything, in the same order. */
export const cleared = (filter) => ({ ...readFilter(new URLSearchParams()), oldestFirst: filter.oldestFirst });

/** Return whether the span of time of a filter is that of the ends. */
export const isByEnd = ({ show }) => VIEWS[show].byEnd === true;

/** Return { started, ended }, in milliseconds, null without one: after these a run has to start and end, asked for at `at`. */
function earliest(filter, at) {
  const begin = filter.since === null ? null : at - SPANS[filter.since].length;
  const [started, ended] = isByEnd(filter) ? [null, begin] : [begin, null];
  return { started: started ?? toMs(filter.after), ended: ended ?? toMs(filter.endedAfter) };
}

const isoOf = (ms) => (ms === null ? null : new Date(ms).toISOString());

/** Return the parameters of GET /handlers, without order and page, for a filter that was asked for at the time `at`. */
export function parameters(filter, at) {
  const { started, ended } = earliest(filter, at);
  const { statuses, states = null } = VIEWS[filter.show];
  return {
    status: statuses,
    now: states,
    workflow_name: filter.workflows,
    tag: filter.tags,
    code_version: filter.versions,
    q: filter.q || null,
    started_after: isoOf(started),
    started_before: isoOf(toMs(filter.before)),
    ended_after: isoOf(ended),
  };
}

const isOneOf = (wanted, value) => wanted.length === 0 || wanted.includes(value);

/** Return whether a run belongs to the list, as the server would say. */
export function matches(handler, filter, at) {
  const begin = toMs(handler.started_at);
  const { started, ended } = earliest(filter, at);
  return (
    belongsTo(handler, filter.show) &&
    isOneOf(filter.workflows, handler.workflow_name) &&
    isOneOf(filter.versions, handler.code_version) &&
    filter.tags.every((tag) => handler.tags.includes(tag)) &&
    (started === null || begin > started) &&
    (filter.before === null || begin < toMs(filter.before)) &&
    (ended === null || endOf(handler) > ended) &&
    isFound(handler, filter.q)
  );
}

/** Return when a run ended, in milliseconds; -Infinity while it runs. */
function endOf({ status, completed_at: completed, updated_at: updated, started_at: started }) {
  return status === "running" ? -Infinity : toMs(completed ?? updated ?? started);
}

/** Return whether a run belongs to a view. */
export function belongsTo(handler, show) {
  const { statuses, states } = VIEWS[show];
  if (statuses !== null && !statuses.includes(handler.status)) return false;
  if (states === undefined) return true;
  return states.includes(handler.now?.state ?? statusOf(handler).word);
}

function isFound(handler, q) {
  if (q === "") return true;
  const wanted = q.toLowerCase();
  const { handler_id: id, run_id: run, workflow_name: name, error, tags } = handler;
  return [id, run, name, error, ...tags].some((text) => text && text.toLowerCase().includes(wanted));
}

/** Return a filter in words: "failed runs of hello with the tag nightly, started in the last 24 hours". */
export function inWords(filter) {
  const words = [VIEWS[filter.show].phrase];
  if (filter.workflows.length > 0) words.push(`of ${filter.workflows.join(" or ")}`);
  if (filter.tags.length > 0) words.push(`with the ${filter.tags.length === 1 ? "tag" : "tags"} ${filter.tags.join(" and ")}`);
  if (filter.versions.length > 0) words.push(`with the code ${filter.versions.join(" or ")}`);
  if (filter.q) words.push(`that contain “${filter.q}”`);
  if (filter.since) words.push(`${isByEnd(filter) ? "that ended" : "started"} ${SPANS[filter.since].phrase}`);
  if (filter.after) words.push(`started after ${new Date(filter.after).toLocaleString("en")}`);
  if (filter.endedAfter) words.push(`that ended after ${new Date(filter.endedAfter).toLocaleString("en")}`);
  if (filter.before) words.push(`started before ${new Date(filter.before).toLocaleString("en")}`);
  return words.join(" ");
}
