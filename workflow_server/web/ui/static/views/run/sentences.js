// What happened, in a sentence for each entry of a history.
import { duration, line, shortName, toMs } from "../../format.js";
import { html } from "../../lib.js";

const strong = (text) => html`<b><bdi>${line(text, 120)}</bdi></b>`;
const plain = (text, most = 300) => html`<bdi>${line(text, most)}</bdi>`;
const event = (name) => (name ? html`<span class="ev"><bdi>${shortName(name)}</bdi></span>` : "an event");
const step = (entry) => (entry.step ? strong(entry.step) : "a step");
const by = (entry) => entry.by && html`, by ${strong(entry.by)}`;
const took = (entry) => entry.duration !== null && entry.duration !== undefined && html` after ${duration(entry.duration)}`;
const wanted = ({ requirements }) => {
  const fields = Object.entries(requirements ?? {}).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return fields.length > 0 && html` with ${plain(fields.join(", "), 160)}`;
};
const wait = (entry) => duration((toMs(entry.until) - toMs(entry.time)) / 1000);
const reason = (entry) => entry.reason && html`: ${plain(entry.reason)}`;

/** How often a step was tried, where it is not the first time. */
const again = (execution) => (execution?.attempt > 1 ? ` again (attempt ${execution.attempt})` : execution?.again ? " again" : "");

const RESUMED = {
  crash: ["It was resumed", ": the server had crashed, and was started again"],
  restart: ["It was resumed", ": the server was restarted"],
  release: ["It is in memory again", ": something came for it"],
};

function resumed(entry, { down, interrupted }) {
  const [said, why] = RESUMED[entry.reason] ?? ["It was resumed", reason(entry)];
  const names = [...new Set(interrupted)].slice(0, 3).map((name, index) => html`${index > 0 && ", "}${strong(name)}`);
  return html`${said}${down > 0 && html` after ${duration(down / 1000)}`}${why}${
    names.length > 0 && html`. Interrupted: ${names}${interrupted.length > names.length ? ` (${interrupted.length} executions)` : ""}`}`;
}

/** Return what tells more of an entry than itself: { execution, down, interrupted }, from what was derived of the history. */
export function contextOf(executions, spans) {
  const begun = new Map(executions.map((execution) => [execution.beginSequence, execution]));
  const interrupted = new Map();
  for (const { outcome, end, step: name } of executions) {
    if (outcome === "interrupted") interrupted.set(end, [...(interrupted.get(end) ?? []), name]);
  }
  const downs = new Map(spans.filter((span) => span.kind === "down").map((span) => [span.id, span]));
  return (entry) => {
    const down = entry.kind === "resumed" ? downs.get(`down-${entry.cursor}`) : null;
    return { execution: entry.kind === "step_began" ? begun.get(entry.sequence) : null, down: down ? down.end - down.begin : 0,
      interrupted: down ? (interrupted.get(down.begin) ?? []) : [] };
  };
}

const NOTHING = { execution: null, down: 0, interrupted: [] };

const SENTENCES = {
  started: (entry) => html`The run was started${entry.event && html` with ${event(entry.event)}`}${by(entry)}`,
  step_queued: (entry) => html`${step(entry)} waits for a free worker${entry.event && html`, with ${event(entry.event)}`}`,
  step_began: (entry, { execution }) => html`${step(entry)} began${again(execution)}${entry.event && html` with ${event(entry.event)}`}`,
  step_ended: (entry) => entry.returned === null
    ? html`${step(entry)} was left${took(entry)}, without a return`
    : html`${step(entry)} ended${took(entry)}, and returned ${entry.returned === "None" ? "nothing" : event(entry.returned)}`,
  attempt_failed: (entry) => html`${step(entry)} failed${took(entry)}${
    entry.attempt > 1 && html` (attempt ${entry.attempt})`}: ${plain(entry.error)}.
    ${entry.until ? html` It begins again after ${wait(entry)}` : " There is no further attempt"}`,
  wait_began: (entry) => html`${step(entry)} waits for ${event(entry.event)}${wanted(entry)}${
    entry.question && html`, and asked with ${event(entry.question)}`}${entry.until && html`, for ${wait(entry)} at most`}`,
  wait_answered: (entry) => html`${step(entry)} got ${entry.event ? event(entry.event) : "its answer"}${took(entry)}, and begins anew`,
  wait_timed_out: (entry) => html`${step(entry)} waited for ${event(entry.event)} in vain${took(entry)}: its deadline has passed`,
  event_sent: (entry) => html`${event(entry.event)} was sent${entry.step && html` to ${step(entry)}`}${by(entry)}`,
  event_published: (entry) => html`${event(entry.event)} was published`,
  event_unhandled: (entry) => html`No step took ${event(entry.event)}`,
  idle: () => "The run only waits",
  released: (entry) => html`It left memory while it waits${entry.until && html`, for ${wait(entry)} at most`}`,
  resumed,
  suspended: (entry) => html`It makes no progress${reason(entry)}`,
  retried: (entry) => html`It was taken up again${entry.step && html` from ${step(entry)}`}${by(entry)}${reason(entry)}`,
  cancel_requested: (entry) => html`It was cancelled${by(entry)}`,
  completed: (entry) => html`The run completed${entry.event && html` with ${event(entry.event)}`}`,
  failed: (entry) => html`The run failed${entry.step && html` in ${step(entry)}`}${
    entry.attempt > 1 && html`, in attempt ${entry.attempt}`}${entry.error && html`: ${plain(entry.error)}`}`,
  cancelled: () => "The run ended: it was cancelled",
  timed_out: () => "The run ended: its time was over",
  other: (entry) => html`Something that this page has no words for${reason(entry)}`,
};

const WORDS = { event_sent: "sent", cancel_requested: "cancelled", wait_timed_out: "timed out" };

/** Return the kind of an entry in a word or two. */
export const wordOf = (entry) => WORDS[entry.kind] ?? entry.kind.replace(/_/g, " ");

const TONES = {
  failed: "failed", attempt_failed: "failed", wait_timed_out: "failed", timed_out: "failed", completed: "completed",
  cancelled: "cancelled", cancel_requested: "cancelled", suspended: "waiting", wait_began: "waiting",
  resumed: "running", retried: "running", started: "running",
};

/** Return the colour of an entry, by the tokens of the states; "" for most. */
export const toneOf = (entry) => (entry.kind === "attempt_failed" && entry.until ? "waiting" : (TONES[entry.kind] ?? ""));

/** An entry as a sentence without its full stop. `context` is that of contextOf. */
export function Sentence({ entry, context = NOTHING }) {
  return (SENTENCES[entry.kind] ?? SENTENCES.other)(entry, context);
}
