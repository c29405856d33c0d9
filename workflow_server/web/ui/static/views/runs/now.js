// A run in a phrase: what it does now, what it waits for, what went wrong, or what came of it.
import { html } from "../../lib.js";
import { ago, duration, line, toMs } from "../../format.js";
import { clock, useStore } from "../../store.js";
import { resultInWords } from "./result.js";

const LONG = 60_000; // Milliseconds after which it is told how long a step has been running.
const FAILED_IN = /^(.*) \(?in step ([\w.]+)\)?(.*)$/s;

/** Return steps with how often each runs, the most frequent first: "search × 8, summarise". */
export function stepsInWords(steps) {
  const counts = new Map();
  for (const { step } of steps) counts.set(step, (counts.get(step) ?? 0) + 1);
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  return sorted.map(([step, times]) => (times > 1 ? `${step} × ${times}` : step)).join(", ");
}

/** Return how long something has lasted since a time in milliseconds: "for 12 min". */
function lasting(since, now) {
  if (since === null) return null;
  const text = ago(since, now);
  return text === "just now" ? null : `for ${text.replace(/ ago$/, "")}`;
}

function waits(waiting, total, now) {
  const [first] = waiting;
  const deadline = toMs(first.deadline);
  const details = [
    [first.event, lasting(toMs(first.since), now)].filter(Boolean).join(", "),
    deadline !== null && (deadline > now ? `${duration((deadline - now) / 1000)} left` : "the deadline is over"),
    total > 1 && `and ${total - 1} more`,
  ];
  if (!first.prompt) return { main: `waits for ${details[0]}`, details: details.slice(1) };
  return { main: `“${line(first.prompt)}”`, details };
}

function works(now, running, retrying, at) {
  const count = Math.max(now.running_count ?? 0, running.length);
  const retries = Math.max(now.retrying_count ?? 0, retrying.length);
  const next = retrying.length > 0 ? toMs(retrying[0].at) : null;
  const oldest = Math.min(...running.map(({ since }) => toMs(since) ?? at));
  const details = [at - oldest >= LONG && lasting(oldest, at)];
  if (count > running.length) details.push(`${count} steps side by side`);
  if (running.length > 0 && retries > 0) details.push(`${retries === 1 ? `${retrying[0].step} begins` : `${retries} begin`} again soon`);
  if (running.length > 0) return { main: stepsInWords(running), details };
  const when = next !== null && next > at ? `in ${duration((next - at) / 1000)}` : "now";
  return { main: `${stepsInWords(retrying)} failed`, details: [`attempt ${retrying[0].attempt} begins ${when}`] };
}

const STATES = {
  queued: { main: "begins when another run of its workflow ends", details: [], soft: true },
  stalled: { main: "nothing can happen any more", details: ["send it an event, or cancel it"] },
  released: { main: "idle", details: ["goes on by itself at its time, or with an event"], soft: true },
};

function running(handler, at) {
  const now = handler.now ?? handler;
  if (handler.suspended && now.state !== "queued") return { main: line(handler.suspended), details: [] };
  const waiting = now.waiting_for ?? [];
  if (waiting.length > 0) return waits(waiting, Math.max(now.waiting_count ?? 0, waiting.length), at);
  const steps = now.running_steps ?? [];
  const retrying = now.retrying_steps ?? [];
  if (steps.length + retrying.length > 0) return works(now, steps, retrying, at);
  return STATES[now.state] ?? (handler.stalled ? STATES.stalled : { main: "", details: [] });
}

function failed(error) {
  if (!error) return { main: "failed", details: [], isError: true };
  const [, main, step, place] = FAILED_IN.exec(error) ?? [null, error];
  return { main: line(main), details: step ? [`in step ${step}${line(place)}`] : [], isError: true };
}

/** Return { main, details, soft, isError }: texts that say where a handler stands at the time `at`. */
export function phrase(handler, at) {
  if (handler.status === "running") return running(handler, at);
  if (handler.status === "failed") return failed(handler.error);
  if (handler.status === "cancelled") return { main: handler.error ? line(handler.error) : "", details: [], soft: true };
  const summary = handler.now?.summary;
  return { main: summary ? line(resultInWords(summary)) : "", details: [], soft: true };
}

/** Where a handler stands, in one line; all of it is its title. */
export function Now({ handler }) {
  // Drawn again only when its words change, though it tells ages.
  const words = useStore(clock, ({ now }) => JSON.stringify(phrase(handler, now)));
  const { main, details, soft, isError } = JSON.parse(words);
  const told = details.filter(Boolean);
  const name = isError ? "now-error" : soft ? "soft" : "";
  const more = told.length > 0 && html` <span class="now-more soft">${main && "· "}<bdi>${told.join(" · ")}</bdi></span>`;
  return html`<span class="now" title=${[main, ...told].join(" · ")}><bdi class="now-main ${name}">${main}</bdi>${more}</span>`;
}
