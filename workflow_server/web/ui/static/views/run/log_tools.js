// What is above the log: search, types, internal events, earlier runs.
import { Button } from "../../components/basics.js";
import { Menu } from "../../components/menu.js";
import { count, number } from "../../format.js";
import { useLoaded } from "../../hooks.js";
import { html } from "../../lib.js";

export function LogTools({ filters, shown, handler }) {
  return html`<${Search} filters=${filters} />
    <${Types} filters=${filters} kinds=${shown.state.kinds} marks=${shown.marks.length} />
    <${Check} filters=${filters} name="internal">internal events</${Check}>
    <${Earlier} filters=${filters} handler=${handler} />`;
}

function Check({ filters, name, children }) {
  const change = (event) => filters.set({ [name]: event.target.checked });
  return html`<label class="check"><input type="checkbox" checked=${filters[name]} onChange=${change} /> ${children}</label>`;
}

function Search({ filters }) {
  const clear = (event) => {
    if (event.key !== "Escape" || filters.text === "") return;
    event.stopPropagation();
    filters.setText("");
  };
  return html`<input type="search" class="log-search" aria-label="Search in the events" placeholder="Search" value=${filters.text}
    onInput=${(event) => filters.setText(event.target.value)} onKeyDown=${clear} />`;
}

/** Return the types of a log with their counts, the most frequent first; internal ones only where they are shown. */
function countTypes(kinds, internal) {
  const counts = new Map();
  for (const kind of kinds.values()) {
    if (!kind.internal || internal) counts.set(kind.type, (counts.get(kind.type) ?? 0) + kind.count);
  }
  return [...counts].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
}

function Types({ filters, kinds, marks }) {
  const { types } = filters;
  const label = types.length === 0 ? "All types" : types.length === 1 ? types[0] : count(types.length, "type");
  const toggle = (type) => filters.set({ type: types.includes(type) ? types.filter((other) => other !== type) : [...types, type] });
  const draw = () => {
    const counts = countTypes(kinds, filters.internal);
    for (const type of types) if (!counts.some(([name]) => name === type)) counts.push([type, 0]);
    return html`${counts.length === 0 && html`<p class="inner soft">There are no events yet.</p>`}
      ${counts.map(([type, events]) => html`<label class="menu-check" key=${type}>
        <input type="checkbox" checked=${types.includes(type)} onChange=${() => toggle(type)} />
        <bdi>${type}</bdi> <span class="num soft">${number(events)}</span></label>`)}
      <label class="menu-check apart"><input type="checkbox" checked=${filters.marks && types.length === 0} disabled=${types.length > 0}
        onChange=${(event) => filters.set({ marks: event.target.checked ? "" : "0" })} />
        <span>what else happened</span> <span class="num soft">${number(marks)}</span></label>
      <${Button} small quiet disabled=${types.length === 0} onClick=${() => filters.set({ type: [] })}>Show all types</${Button}>`;
  };
  return html`<${Menu} label=${html`<bdi class="menu-name">${label}</bdi>`} title="Types of events">${draw}</${Menu}>`;
}

/** Events of the runs that the handler had before: offered where there were any. */
function Earlier({ filters, handler }) {
  const { value } = useLoaded(["handlers", handler.handler_id, "history"], { limit: 1 });
  const first = value?.history?.[0];
  if (!filters.earlier && (!first || first.run_id === handler.run_id)) return null;
  return html`<${Check} filters=${filters} name="earlier">earlier runs</${Check}>`;
}
