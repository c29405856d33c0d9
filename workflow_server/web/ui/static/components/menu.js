// A button that opens a small panel below it: Escape, a click elsewhere, or the focus leaving it closes it.
import { html, useEffect, useRef, useState } from "../lib.js";

const EDGE = 12; // Pixels that are left free at the window's edge.

/** `children` may be a function of `close`. `label` is the button's text, `title` the panel's name. */
export function Menu({ label, title, children, small = true }) {
  const [isOpen, setOpen] = useState(false);
  const [shift, setShift] = useState(0); // Pixels to the right, so that a narrow window holds the panel.
  const root = useRef(null);
  const button = useRef(null);
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  useEffect(() => {
    if (!isOpen) return setShift(0);
    const outside = (event) => {
      if (!root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    setShift(Math.max(0, EDGE - root.current.querySelector(".menu-panel").getBoundingClientRect().left));
    root.current?.querySelector(".menu-panel input, .menu-panel button, .menu-panel a")?.focus();
    return () => document.removeEventListener("pointerdown", outside);
  }, [isOpen]);
  const onKey = (event) => {
    if (event.key !== "Escape" || !isOpen) return;
    event.stopPropagation();
    close();
  };
  const onFocusOut = (event) => {
    if (event.relatedTarget !== null && !root.current?.contains(event.relatedTarget)) setOpen(false);
  };
  return html`<div class="menu" ref=${root} onKeyDown=${onKey} onFocusOut=${onFocusOut}>
    <button type="button" ref=${button} class="btn ${small ? "small" : ""}" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>
      ${label} <span aria-hidden="true">▾</span></button>
    ${isOpen && html`<div class="menu-panel" style=${{ right: `${-shift}px` }} role="group" aria-label=${title}>
      ${typeof children === "function" ? children(close) : children}</div>`}
  </div>`;
}
