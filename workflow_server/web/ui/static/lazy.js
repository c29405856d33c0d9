// Views that are loaded when they are first seen: no view brings what only others need.
import { Failure } from "./components/basics.js";
import { useLoaded } from "./hooks.js";
import { html, useEffect, useReducer, useRef, useState } from "./lib.js";

const EVERY = 2000; // milliseconds

/** Return a component that is `name` of the module that `load` imports. Until it is there, nothing is drawn. */
export function lazy(load, name) {
  let loaded = null;
  return function Lazy(props) {
    const [, redraw] = useReducer((count) => count + 1, 0);
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      if (loaded !== null || failed) return;
      load().then(
        (module) => {
          loaded = module[name];
          redraw();
        },
        () => setFailed(true),
      );
    }, [failed]);
    // A browser does not try a module again that it could not load: only the page, loaded anew, does. Where the server
    // could not be reached, that is done when it can.
    const { value, error } = useLoaded(failed ? "health" : null, {}, { every: EVERY });
    const wasLost = useRef(false);
    wasLost.current ||= error?.status === 0;
    useEffect(() => {
      if (value !== null && wasLost.current) location.reload();
    }, [value]);
    if (failed) return html`<${Failure} error=${{ detail: "This part of the page could not be loaded." }} onRetry=${() => location.reload()} />`;
    return loaded === null ? null : html`<${loaded} ...${props} />`;
  };
}
