// Executions of steps, and what lies between them, derived from the entries of a history.
import { toMs } from "../../format.js";

const DUE = 3; // Milliseconds by which the clocks of a retry's due time and of its begin may differ.
const ENDS = new Set(["completed", "failed", "cancelled", "timed_out"]);

/**
 * Return what derives executions, spans and marks from entries, oldest first. `push(entries)` takes what is new and costs
 * no more than that; `value()` returns { executions, spans, marks, last }, arrays that are not changed afterwards.
 *
 * An execution: { id, runId, step, worker, attempt, again, begin, end, outcome, event, returned, duration, error,
 * traceback, beginSequence, endSequence }; times in milliseconds, `duration` in seconds as the server measured it.
 * A span: { id, kind, step, begin, end, event, reason, until, question, now, most }; kinds wait, retry, down, released,
 * suspended and queued; `until` is a deadline, or when a retry is due; `now` and `most` count what is queued.
 * A mark: { id, kind, time, reason }: started, resumed, retried, cancel_requested, and the ends of runs.
 */
export function createDerivation() {
  const made = { executions: [], spans: [], marks: [], last: null };
  let run = newRun(null);
  return {
    push(entries) {
      for (const entry of entries) {
        const time = toMs(entry.time) ?? made.last;
        if (time === null) continue;
        if (run.id !== entry.run_id) run = newRun(entry.run_id);
        (ENDS.has(entry.kind) ? end : TAKE[entry.kind])?.(made, run, entry, time);
        made.last = time;
      }
    },
    value: () => ({ executions: [...made.executions], spans: [...made.spans], marks: [...made.marks], last: made.last }),
  };
}

/** What is open in a run: executions by step and worker, waits, what is queued; values are places in the arrays. */
function newRun(id) {
  return { id, open: new Map(), steps: new Map(), waits: [], idle: null, released: null, suspended: null };
}

/** What is known of a step in a run. `front` are attempts that go before what is queued, as in the engine. */
function ofStep(run, name) {
  if (!run.steps.has(name)) {
    run.steps.set(name, { front: [], queued: 0, queue: null, failures: [], waits: [], traceback: null });
  }
  return run.steps.get(name);
}

const keyOf = (entry) => `${entry.worker}\n${entry.step}`;

function change(list, index, patch) {
  list[index] = { ...list[index], ...patch };
}

function addSpan(made, kind, entry, begin, more = {}) {
  made.spans.push({
    id: `${kind}-${entry.cursor}`, kind, runId: entry.run_id, step: entry.step, begin, end: null, event: entry.event,
    reason: entry.reason, until: toMs(entry.until), question: entry.question, now: 0, most: 0, ...more,
  });
  return made.spans.length - 1;
}

function addMark(made, run, entry, time) {
  made.marks.push({ id: entry.cursor, kind: entry.kind, time, reason: entry.reason, by: entry.by, step: entry.step });
}

/** End the span whose place is in `run[name]`, if there is one. */
function endSpan(made, run, name, time, patch = {}) {
  if (run[name] === null) return;
  change(made.spans, run[name], { end: time, ...patch });
  run[name] = null;
}

function addExecution(made, entry, begin, more) {
  made.executions.push({
    id: entry.cursor, runId: entry.run_id, step: entry.step, worker: entry.worker, attempt: 1, again: false, begin, end: null,
    outcome: "running", event: entry.event, returned: null, duration: null, error: null, traceback: null,
    beginSequence: entry.sequence, endSequence: null, ...more,
  });
  return made.executions.length - 1;
}

function queued(made, run, entry, time) {
  const step = ofStep(run, entry.step);
  step.queued += 1;
  if (step.queue === null) step.queue = addSpan(made, "queued", entry, time);
  change(made.spans, step.queue, { now: step.queued, most: Math.max(made.spans[step.queue].most, step.queued) });
}

function began(made, run, entry, time) {
  endSpan(made, run, "idle", time, { step: entry.step });
  endSpan(made, run, "suspended", time);
  const step = ofStep(run, entry.step);
  const key = keyOf(entry);
  if (run.open.has(key)) change(made.executions, run.open.get(key), { end: time, outcome: "interrupted" });
  const place = step.front.findIndex((one) => one.due === null || one.due <= time + DUE);
  const before = place < 0 ? null : step.front.splice(place, 1)[0];
  if (before === null) leaveQueue(made, step, time);
  else if (before.span !== null) change(made.spans, before.span, { end: time });
  run.open.set(key, addExecution(made, entry, time, { attempt: before?.attempt ?? 1, again: before?.again ?? false }));
}

function leaveQueue(made, step, time) {
  if (step.queued === 0) return;
  step.queued -= 1;
  change(made.spans, step.queue, { now: step.queued });
  if (step.queued > 0) return;
  change(made.spans, step.queue, { end: time });
  step.queue = null;
}

function ended(made, run, entry, time) {
  const step = ofStep(run, entry.step);
  const key = keyOf(entry);
  const begin = time - (entry.duration ?? 0) * 1000;
  const index = run.open.get(key) ?? addExecution(made, entry, begin, { beginSequence: null });
  run.open.delete(key);
  change(made.executions, index, {
    end: time, endSequence: entry.sequence, returned: entry.returned, duration: entry.duration, ...outcome(step, entry),
  });
}

/** Return how a call ended. What did not return has failed or waits: an entry before the end tells. */
function outcome(step, entry) {
  if (entry.returned !== null) return { outcome: "done" };
  if (step.failures.length > 0) {
    const same = step.failures.findIndex((failure) => failure.duration === entry.duration);
    const [failure] = step.failures.splice(Math.max(0, same), 1);
    const { error, traceback, attempt } = failure;
    return { outcome: failure.until === null ? "failed" : "retried", error, traceback, attempt };
  }
  if (step.waits.length > 0) step.waits.shift();
  return { outcome: "waiting" };
}

function attemptFailed(made, run, entry, time) {
  const step = ofStep(run, entry.step);
  step.traceback = entry.traceback ?? step.traceback;
  step.failures.push({ ...entry, attempt: entry.attempt ?? 1, traceback: step.traceback });
  if (entry.until === null) return;
  const span = addSpan(made, "retry", entry, time, { reason: entry.error });
  step.front.unshift({ attempt: (entry.attempt ?? 1) + 1, due: toMs(entry.until), span, again: false });
}

function waitBegan(made, run, entry, time) {
  ofStep(run, entry.step).waits.push(entry);
  run.waits.push(addSpan(made, "wait", entry, time));
}

function waitEnded(made, run, entry, time) {
  const begin = time - (entry.duration ?? 0) * 1000;
  const distance = (index) => {
    const span = made.spans[index];
    return Math.abs(span.begin - begin) + (span.step === entry.step && span.event === entry.event ? 0 : 1e12);
  };
  const nearest = run.waits.reduce((best, index) => (best === null || distance(index) < distance(best) ? index : best), null);
  const index = nearest !== null && distance(nearest) < 1e12 ? nearest : addSpan(made, "wait", entry, begin);
  run.waits = run.waits.filter((one) => one !== index);
  change(made.spans, index, { end: time, reason: entry.kind === "wait_timed_out" ? "timed out" : "answered" });
}

function idle(made, run, entry, time) {
  if (run.waits.length === 0 && run.idle === null) run.idle = addSpan(made, "wait", entry, time);
}

function eventSent(made, run, entry, time) {
  if (run.idle !== null && entry.event !== null) change(made.spans, run.idle, { event: entry.event });
}

function released(made, run, entry, time) {
  if (run.released === null) run.released = addSpan(made, "released", entry, time);
}

function resumed(made, run, entry, time) {
  endSpan(made, run, "released", time);
  endSpan(made, run, "suspended", time);
  addMark(made, run, entry, time);
  if (entry.reason === "release") return;
  // The server was alive at the last entry, and until its last sign of life, which histories of earlier versions do not tell.
  const since = Math.min(time, Math.max(made.last ?? 0, toMs(entry.since) ?? (run.open.size === 0 ? time : 0)));
  addSpan(made, "down", entry, since, { end: time });
  interrupt(made, run, since);
}

function interrupt(made, run, time) {
  for (const index of run.open.values()) {
    const execution = made.executions[index];
    change(made.executions, index, { end: Math.max(time, execution.begin), outcome: "interrupted" });
    ofStep(run, execution.step).front.unshift({ attempt: execution.attempt, due: null, span: null, again: true });
  }
  run.open.clear();
}

function suspended(made, run, entry, time) {
  if (run.suspended === null) run.suspended = addSpan(made, "suspended", entry, time);
}

function retried(made, run, entry, time) {
  endSpan(made, run, "suspended", time);
  addMark(made, run, entry, time);
}

function end(made, run, entry, time) {
  for (const index of run.open.values()) change(made.executions, index, { end: time, outcome: "cancelled" });
  run.open.clear();
  for (const index of run.waits) change(made.spans, index, { end: time, reason: entry.kind });
  run.waits = [];
  for (const step of run.steps.values()) {
    for (const { span } of step.front) if (span !== null) change(made.spans, span, { end: time });
    step.front = [];
    if (step.queue !== null) change(made.spans, step.queue, { end: time });
    step.queue = null;
    step.queued = 0;
  }
  for (const name of ["idle", "released", "suspended"]) endSpan(made, run, name, time);
  addMark(made, run, entry, time);
}

const TAKE = {
  started: addMark, step_queued: queued, step_began: began, step_ended: ended, attempt_failed: attemptFailed,
  wait_began: waitBegan, wait_answered: waitEnded, wait_timed_out: waitEnded, idle, event_sent: eventSent, released, resumed,
  suspended, retried, cancel_requested: addMark,
};
