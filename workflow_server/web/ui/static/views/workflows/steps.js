// The steps of a workflow: which are slow, and which fail.
import { Panel, Text } from "../../components/basics.js";
import { duration, number, percent } from "../../format.js";
import { html, useState } from "../../lib.js";

const ORDERS = {
  slow: ["slowest first", (step) => step.p95 ?? step.mean ?? 0],
  failing: ["most failing first", (step) => (step.executions > 0 ? step.failures / step.executions : 0)],
  often: ["most executed first", (step) => step.executions],
};

export function StepTable({ steps }) {
  const [order, setOrder] = useState("slow");
  const [, rank] = ORDERS[order];
  const sorted = [...steps].sort((one, other) => rank(other) - rank(one));
  const chooser = html`<select aria-label="Order of the steps" value=${order} onChange=${(event) => setOrder(event.target.value)}>
    ${Object.entries(ORDERS).map(([key, [title]]) => html`<option key=${key} value=${key} selected=${key === order}>${title}</option>`)}</select>`;
  return html`<${Panel} title="Steps" hint="since the server's start" actions=${chooser} class="scrolls">
    ${steps.length === 0 ? html`<p class="inner soft">No step has run since the server was started.</p>` : html`<table class="rows num">
      <thead><tr><th>Step</th><th class="r">Executions</th><th class="r">Failed</th><th class="r extra">Tried again</th><th class="r extra">Mean</th><th class="r">p95</th></tr></thead>
      <tbody>${sorted.map((step) => html`<tr key=${step.step}>
        <td><${Text}>${step.step}</${Text}></td><td class="r">${number(step.executions)}</td>
        <td class="r ${step.failures > 0 ? "bad" : ""}">${number(step.failures)}${step.failures > 0 && html` <span class="soft">(${percent(step.failures / Math.max(1, step.executions))})</span>`}</td>
        <td class="r extra">${number(step.retries)}</td><td class="r extra">${duration(step.mean)}</td><td class="r">${duration(step.p95)}</td></tr>`)}</tbody>
    </table>`}
  </${Panel}>`;
}
