// A modal dialog: the browser's own, with the focus kept inside and Escape closing it.
import { html, useEffect, useRef } from "../lib.js";
import { Button } from "./basics.js";

/** A dialog that is open as long as it is drawn. `onClose` is called by Escape and the button that closes it. */
export function Dialog({ title, onClose, actions, children, wide = false }) {
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    const element = dialog.current;
    element.showModal();
    return () => {
      // As long as it is open, nothing outside of it takes the focus.
      element.close();
      before?.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${dialog} class=${wide ? "wide" : ""} aria-label=${title} onCancel=${cancel}>
    <header><h2>${title}</h2><${Button} quiet small onClick=${onClose} aria-label="Close">×</${Button}></header>
    <div class="body">${children}</div>
    ${actions && html`<footer>${actions}</footer>`}
  </dialog>`;
}
