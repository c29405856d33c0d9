// Views that are loaded when they are first seen: no view brings what only others need.
import { Failure } from "./components/basics.js";
import { html, useEffect, useReducer, useState } from "./lib.js";

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
    // A browser does not try a module again that it could not load: only the page, loaded anew, does.
    if (failed) return html`<${Failure} error=${{ detail: "This part of the page could not be loaded." }} onRetry=${() => location.reload()} />`;
    return loaded === null ? null : html`<${loaded} ...${props} />`;
  };
}
