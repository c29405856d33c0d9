// What the fields of one form share.
import { createContext, useContext, useRef } from "../lib.js";

/** `root`: the schema with the definitions; `errors`: the server's; `report(id, problem)`: text that is not JSON yet. */
export const FormContext = createContext({ root: {}, errors: [], report: () => {}, isChecked: false });
export const useForm = () => useContext(FormContext);

let last = 0;

/** Return an id that no other element has. */
export function useFieldId() {
  const id = useRef(null);
  id.current ??= `field-${(last += 1)}`;
  return id.current;
}

const begins = (path, start) => start.length <= path.length && start.every((part, index) => String(part) === String(path[index]));

/**
 * Return the server's messages that are shown at a path. `drawn` are the keys of the fields within it that show their own;
 * null where there are none, and everything below is shown here.
 */
export function errorsAt(errors, path, drawn = null) {
  return errors
    .filter((error) => begins(error.path, path))
    .filter((error) => error.path.length === path.length || drawn === null || !drawn.includes(String(error.path[path.length])))
    .map((error) => [error.path.slice(path.length).join("."), error.message].filter((part) => part !== "").join(": "));
}
