// The state of each step of a run, in a word and a phrase.
import { count, duration } from "../../format.js";

/**
 * Return { STEP: { kind, text } } of the steps that have begun: kinds running, retrying, waiting, failed, done
 * and cancelled. `text` is short, for a box of the graph: "running × 3 · 2 done".
 */
export function stepStates({ executions, spans, handler }) {
  const steps = {};
  for (const execution of executions) {
    const step = ofStep(steps, execution.step);
    step[execution.outcome] += 1;
    step.again += execution.again ? 1 : 0;
    if (execution.end !== null && execution.end >= (step.last?.end ?? -Infinity)) step.last = execution;
  }
  for (const span of spans) if (span.end === null) noteSpan(steps, span, handler);
  return Object.fromEntries(Object.entries(steps).map(([name, step]) => [name, told(step, handler)]));
}

function ofStep(steps, name) {
  steps[name] ??= {
    running: 0, done: 0, failed: 0, retried: 0, interrupted: 0, waiting: 0, cancelled: 0, again: 0, retrying: 0, queued: 0,
    waits: [], last: null,
  };
  return steps[name];
}

/** Note what is open now. A run that only waits for what its steps take tells no step: its handler does. */
function noteSpan(steps, span, handler) {
  if (span.kind === "retry") ofStep(steps, span.step).retrying += 1;
  if (span.kind === "queued") ofStep(steps, span.step).queued += span.now ?? 0;
  if (span.kind !== "wait") return;
  if (span.step !== null) ofStep(steps, span.step).waits.push(span.event);
  else for (const { step, event } of handler?.waiting_for ?? []) ofStep(steps, step).waits.push(event);
}

function told(step, handler) {
  const kind = kindOf(step, handler);
  return { kind, text: textOf(step, kind) };
}

function kindOf(step, handler) {
  if (step.running > 0) return "running";
  if (step.retrying > 0) return "retrying";
  if (step.waits.length > 0) return "waiting";
  if (step.last === null) return "idle";
  const { outcome } = step.last;
  // What failed and was caught by another step is no failure of a run that went on.
  if (outcome === "failed") return handler?.status === "failed" || step.done === 0 ? "failed" : "done";
  if (outcome === "cancelled" || outcome === "interrupted") return "cancelled";
  return step.done > 0 ? "done" : "cancelled";
}

const times = (word, n) => (n === 1 ? word : `${word} × ${n.toLocaleString("en")}`);

function textOf(step, kind) {
  const first = {
    running: () => times("running", step.running),
    retrying: () => times("waits to retry", step.retrying),
    waiting: () => `waits for ${step.waits.length > 3 ? `${count(step.waits.length, "event")}` : [...new Set(step.waits)].join(", ")}`,
    failed: () => times("failed", step.failed),
    done: () => (step.done === 1 && step.failed + step.retried + step.again === 0 ? doneText(step) : times("done", step.done)),
    cancelled: () => (step.last?.outcome === "interrupted" ? "interrupted" : "cancelled"),
    idle: () => "not begun",
  }[kind]();
  const rest = [];
  if (step.queued > 0) rest.push(`${step.queued.toLocaleString("en")} queued`);
  if (kind !== "done" && step.done > 0) rest.push(`${step.done.toLocaleString("en")} done`);
  if (kind !== "failed" && step.failed > 0) rest.push(`${step.failed} failed`);
  if (step.retried > 0) rest.push(count(step.retried, "retry", "retries"));
  if (step.again > 0) rest.push(`${step.again} again`);
  return [first, ...rest.slice(0, 2)].join(" · ");
}

function doneText(step) {
  return step.last.duration === null ? "done" : `done · ${duration(step.last.duration)}`;
}
