// What the menus above the list hold: check boxes, or actions.
import { html } from "../../lib.js";
import { Button } from "../../components/basics.js";
import { Menu } from "../../components/menu.js";
import { number } from "../../format.js";

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
    <div class="menu-options">${all.map(({ value, label, count }) => html`
      <label key=${value}><input type="checkbox" checked=${chosen.includes(value)} onChange=${() => toggle(value)} />
        <bdi>${label ?? value}</bdi>${count !== undefined && html`<span class="num faint">${number(count)}</span>`}</label>`)}
    </div>`;
  const label = chosen.length === 0 ? title : html`<span class="set">${title}: ${chosen.length}</span>`;
  return html`<${Menu} label=${label} title=${title} small=${false}>${panel}</${Menu}>`;
}

/** A menu of actions: `actions` are { label, run, danger }. */
export function Actions({ title, actions }) {
  const panel = (close) => html`<div class="menu-options">${actions.map(({ label, run, danger }) => html`
    <${Button} key=${label} quiet class=${`btn quiet${danger ? " danger" : ""}`} onClick=${() => {
      close();
      run();
    }}>${label}</${Button}>`)}</div>`;
  return html`<${Menu} label=${title} title=${title}>${panel}</${Menu}>`;
}
