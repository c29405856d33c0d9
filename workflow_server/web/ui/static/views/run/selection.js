// What is selected in a run: the same in its graph, its timeline and its log, and in the hash.
import { toMs } from "../../format.js";

const TOGETHER = 3; // Milliseconds between the entries of one moment, at most.

/** Return a selection with all that is known of it: { step, execution, sequence, time }, each null where it is not. */
export function resolveSelection(selection, { entries, executions }) {
  if (selection === null) return null;
  const asked = { step: null, execution: null, sequence: null, time: null, ...selection };
  if (asked.time !== null && asked.isResolved) return selection;
  const execution = executions.find((one) => isMeant(one, asked));
  if (execution) {
    const sequence = asked.sequence ?? execution.beginSequence ?? execution.endSequence;
    const time = asked.time ?? execution.begin;
    return { ...asked, step: execution.step, execution: execution.id, sequence, time, isResolved: true };
  }
  if (asked.step !== null && asked.time !== null) return { ...asked, ...atMoment(executions, asked) };
  if (asked.sequence === null || asked.time !== null) return asked;
  const entry = entries.find((one) => one.sequence === asked.sequence);
  return entry ? { ...asked, step: asked.step ?? entry.step, time: toMs(entry.time), isResolved: true } : asked;
}

/** Return the execution of a step that ended at a moment, the one that failed if there are several: the moment stays chosen. */
function atMoment(executions, { step, time }) {
  const near = executions.filter((one) => one.step === step && one.end !== null && Math.abs(one.end - time) <= TOGETHER);
  const ended = near.find((one) => one.error !== null) ?? near[0];
  return ended ? { execution: ended.id, isMoment: true, isResolved: true } : {};
}

function isMeant(execution, { execution: id, sequence }) {
  if (id !== null) return execution.id === id;
  return sequence !== null && (execution.beginSequence === sequence || execution.endSequence === sequence);
}

/** Return the values of `at` in the hash, such as ["execution:4.0"]: what is most exact says the rest. */
export function selectionInHash(selection) {
  if (selection === null) return [];
  if (selection.execution !== null && !selection.isMoment) return [`execution:${selection.execution}`];
  if (selection.sequence !== null) return [`sequence:${selection.sequence}`];
  const parts = [];
  if (selection.step !== null) parts.push(`step:${selection.step}`);
  if (selection.time !== null) parts.push(`time:${Math.round(selection.time)}`);
  return parts;
}

/** Return the selection of a hash's query, null where there is none. */
export function selectionOfHash(query) {
  const selection = { step: null, execution: null, sequence: null, time: null };
  let isAny = false;
  for (const text of query.getAll("at")) {
    const [, name, value] = text.match(/^(step|execution|sequence|time):(.+)$/s) ?? [];
    if (name === undefined) continue;
    const isNumber = name === "sequence" || name === "time";
    if (isNumber && !/^\d{1,16}$/.test(value)) continue;
    selection[name] = isNumber ? Number(value) : value;
    isAny = true;
  }
  return isAny ? selection : null;
}
