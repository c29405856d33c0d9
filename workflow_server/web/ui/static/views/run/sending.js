// Sending an event to a run: once for each form, however often it is tried.
import { curl, newKey, post } from "../../api.js";
import { writeExact } from "../../forms/exact_json.js";
import { useAction } from "../../hooks.js";
import { useMemo, useRef } from "../../lib.js";

/**
 * Return { send, busy, error, errors, asCurl, renew }. `request()` makes the body's value: { event, step, hold }. The key
 * stays until `renew()`: a second click, or a retry after a lost answer, sends nothing twice. `onRefused(error)` is called
 * for an error, also when the form is gone by then.
 */
export function useSending(handlerId, request, onSent, onRefused = () => {}) {
  const key = useRef(newKey());
  const action = useAction(async () => {
    try {
      await post(["events", handlerId], writeExact(request()), { key: key.current });
    } catch (error) {
      onRefused(error);
      throw error;
    }
    onSent();
  });
  const errors = useMemo(() => errorsOf(action.error, "event"), [action.error]);
  const renew = () => {
    key.current = newKey();
    action.clear();
  };
  const asCurl = () => curl("POST", ["events", handlerId], { body: writeExact(request()), key: key.current });
  return { send: action.run, busy: action.busy, error: action.error, errors, asCurl, renew };
}

/** Return the messages about the fields of a body's event, which is its key `key`. */
export function errorsOf(error, key) {
  const errors = error?.body?.errors ?? [];
  return errors.filter(({ path }) => path[0] === key).map(({ path, message }) => ({ path: path.slice(1), message }));
}

/** Return what an error of sending means, and whether trying again may help. */
export function explainRefusal(error) {
  if (error.status === 0 || error.status >= 502) {
    return { text: `${error.detail} Try again: with the same key nothing is sent twice.`, canRetry: true };
  }
  if (error.status === 409) return { text: `Not sent: ${error.detail}`, canRetry: false };
  if (error.status === 422) return { text: "An earlier try with other fields got through: this answer was not sent.", canRetry: false };
  if (error.body?.errors) return { text: "Not sent: the marked fields need another value.", canRetry: false };
  return { text: `Not sent: ${error.detail}`, canRetry: error.status === 429 || error.status === 503 };
}
