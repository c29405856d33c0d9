// A button that opens a small panel below it: Escape, a click elsewhere or leaving it closes it.
import { html, useEffect, useRef, useState } from "../../lib.js";
import { Button } from "../../components/basics.js";
import { number } from "../../format.js";

/** `title` names the button; `panel(close)` draws what it opens. */
export function Menu({ title, panel, isSet = false, align = "start", ...rest }) {
  const [isOpen, setOpen] = useState(false);
  const box = useRef(null);
  const close = (giveBack = true) => {
    setOpen(false);
    if (giveBack) box.current?.querySelector("button")?.focus();
  };
  useEffect(() => {
    if (!isOpen) return undefined;
    box.current.querySelector(".menu-panel :is(input, button, a)")?.focus();
    const elsewhere = (event) => box.current?.contains(event.target) || close(false);
    document.addEventListener("pointerdown", elsewhere);
    return () => document.removeEventListener("pointerdown", elsewhere);
  }, [isOpen]);
  const onKeyDown = (event) => {
    if (event.key !== "Escape" || !isOpen) return;
    event.stopPropagation();
    close();
  };
  const onFocusOut = ({ relatedTarget }) => {
    if (isOpen && relatedTarget !== null && !box.current.contains(relatedTarget)) close(false);
  };
  return html`<div class="menu ${align}" ref=${box} onKeyDown=${onKeyDown} onFocusOut=${onFocusOut}>
    <${Button} class=${`btn${isSet ? " set" : ""}`} aria-expanded=${isOpen ? "true" : "false"} onClick=${() => setOpen(!isOpen)} ...${rest}>
      ${title} <span class="arrow" aria-hidden="true">▾</span></${Button}>
    ${isOpen && html`<div class="menu-panel">${panel(close)}</div>`}
  </div>`;
}

/**
 * A menu of check boxes. `options` are { value, label, count }; `chosen` are values, also such as no option has. With
 * `other`, the label of a text field, a value that is not among them can be added.
 */
export function Choices({ title, options, chosen, onChange, other = null, empty }) {
  const known = new Map(options.map((option) => [option.value, option]));
  const all = [...chosen.filter((value) => !known.has(value)).map((value) => ({ value })), ...options];
  const toggle = (value) => onChange(chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value]);
  const add = (event, close) => {
    event.preventDefault();
    const value = new FormData(event.target).get("value").trim();
    if (value === "" || chosen.includes(value)) return;
    onChange([...chosen, value]);
    close();
  };
  const panel = (close) => html`
    ${other !== null && html`<form class="menu-other" onSubmit=${(event) => add(event, close)}>
      <input name="value" aria-label=${other} placeholder=${other} maxlength="100" autocomplete="off" />
      <button class="btn small">Add</button></form>`}
    ${all.length === 0 && html`<p class="soft">${empty}</p>`}
    <div class="menu-options" role="group" aria-label=${title}>${all.map(({ value, label, count }) => html`
      <label key=${value}><input type="checkbox" checked=${chosen.includes(value)} onChange=${() => toggle(value)} />
        <bdi>${label ?? value}</bdi>${count !== undefined && html`<span class="num faint">${number(count)}</span>`}</label>`)}
    </div>`;
  const told = chosen.length === 0 ? title : `${title}: ${chosen.length}`;
  return html`<${Menu} title=${told} panel=${panel} isSet=${chosen.length > 0} />`;
}

/** A menu of actions: `actions` are { label, run, danger }. */
export function Actions({ title, actions, ...rest }) {
  const panel = (close) => html`<div class="menu-options">${actions.map(({ label, run, danger }) => html`
    <${Button} key=${label} quiet class=${`btn quiet${danger ? " danger" : ""}`} onClick=${() => {
      close();
      run();
    }}>${label}</${Button}>`)}</div>`;
  return html`<${Menu} title=${title} panel=${panel} ...${rest} />`;
}
