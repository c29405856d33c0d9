// The steps of a graph as a table: the same as the drawing, for whoever reads better that way.
import { html, useMemo } from "../../lib.js";

export function StepTable({ graph, states, selected, onSelect, unknown }) {
  const rows = useMemo(() => rowsOf(graph), [graph]);
  return html`<div class="graph-table" tabindex="0" role="region" aria-label="Steps"><table>
    <thead><tr><th scope="col">Step</th>${states !== null && html`<th scope="col">State</th>`}<th scope="col">Takes</th>
      <th scope="col">Returns</th></tr></thead>
    <tbody>${rows.map(({ id, label, takes, returns }) => html`<tr key=${id} class=${selected === id ? "selected" : ""}>
      <th scope="row">${onSelect === null ? html`<bdi>${label}</bdi>` : html`
        <button type="button" class="graph-choose" aria-pressed=${selected === id} onClick=${() => onSelect(id)}>
          <bdi>${label}</bdi></button>`}</th>
      ${states !== null && html`<td class="graph-state ${states[id]?.kind ?? "idle"}">${states[id]?.text ?? unknown}</td>`}
      <td><bdi>${takes.join(", ") || "–"}</bdi></td><td><bdi>${returns.join(", ") || "–"}</bdi></td></tr>`)}</tbody>
  </table></div>`;
}

/** Return the steps in the order of the events that lead to them. */
function rowsOf({ nodes, edges }) {
  const names = new Map(nodes.map((node) => [node.id, node.label]));
  const steps = nodes.filter((node) => node.node_type === "step");
  const depth = depths(nodes, edges);
  return steps
    .map((step) => ({
      id: step.id,
      label: step.label,
      takes: edges.filter(({ target }) => target === step.id).map(({ source }) => names.get(source)),
      returns: edges.filter(({ source }) => source === step.id).map(({ target }) => names.get(target)),
    }))
    .sort((one, other) => (depth.get(one.id) ?? 1e9) - (depth.get(other.id) ?? 1e9));
}

/** Return by how many links each node is away from the beginning. */
function depths(nodes, edges) {
  const produced = new Set(edges.map(({ target }) => target));
  const found = new Map(nodes.filter((node) => !produced.has(node.id)).map((node) => [node.id, 0]));
  const waiting = [...found.keys()];
  for (let index = 0; index < waiting.length; index += 1) {
    for (const { source, target } of edges) {
      if (source !== waiting[index] || found.has(target)) continue;
      found.set(target, found.get(source) + 1);
      waiting.push(target);
    }
  }
  return found;
}
