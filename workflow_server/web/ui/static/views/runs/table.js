// The rows of the list. Each is a link: the whole row can be clicked, and the keyboard moves from row to row.
import { html, useCallback, useMemo, useRef } from "../../lib.js";
import { Id, Status } from "../../components/basics.js";
import { ago, duration, exact, toMs } from "../../format.js";
import { go, href } from "../../router.js";
import { clock, useStore } from "../../store.js";
import { useKey } from "./bar.js";
import { toHash } from "./filter.js";
import { Now } from "./now.js";

const INTERACTIVE = "a, button, input, label, summary";

/** An age that draws itself again only when its words change: a list may have thousands. */
function Age({ iso }) {
  const ms = toMs(iso);
  const text = useStore(clock, ({ now }) => ago(ms, now));
  return html`<time datetime=${iso} title=${`${new Date(ms).toDateString()} ${exact(ms)}`}>${text}</time>`;
}

function Lasts({ handler }) {
  const begin = toMs(handler.started_at);
  const end = toMs(handler.completed_at);
  return useStore(clock, ({ now }) => duration(((end ?? Math.max(now, begin)) - begin) / 1000));
}

/** Open a run as a link would: with Control, or the middle button, in another tab. */
function open(event, link) {
  if (event.target.closest(INTERACTIVE) || (event.button !== 0 && event.button !== 1)) return;
  if (event.ctrlKey || event.metaKey || event.button === 1) window.open(link, "_blank", "noopener");
  else if (String(getSelection()) === "") go(link);
}

function Row({ handler, filter, isGone, isNew, isChosen, onChoose }) {
  const id = handler.handler_id;
  return useMemo(() => {
    const link = href(["runs", id]);
    const names = ["run", isGone && "gone", isNew && "new", isChosen && "chosen"].filter(Boolean).join(" ");
    return html`<tr class=${names} onClick=${(event) => open(event, link)} onAuxClick=${(event) => open(event, link)}>
      ${onChoose && html`<td class="pick"><input type="checkbox" checked=${isChosen} aria-label=${`Select ${id}`}
        onClick=${(event) => onChoose(handler, event.target.checked, event.shiftKey)} /></td>`}
      <td class="state"><${Status} handler=${handler} /></td>
      <td class="workflow"><a href=${link} data-run=${id}><bdi>${handler.workflow_name}</bdi><span class="offscreen"> ${id}</span></a></td>
      <td class="what"><${Now} handler=${handler} /></td>
      <td class="tags">${handler.tags.map((tag) => html`<a class="tag" key=${tag} title=${`Only runs with the tag ${tag}`}
        href=${href(["runs"], toHash({ ...filter, tags: [...new Set([...filter.tags, tag])] }))}><bdi>${tag}</bdi></a>`)}</td>
      <td class="started num soft"><${Age} iso=${handler.started_at} /></td>
      <td class="lasts num"><${Lasts} handler=${handler} /></td>
      <td class="id"><${Id} id=${id} label="run id" /></td>
    </tr>`;
  }, [handler, filter, isGone, isNew, isChosen, onChoose]);
}

/** Move the focus from row to row: j and k, and the arrows while a row has it. x selects a row. */
function useRowKeys(body) {
  useKey(["j", "k", "x", "ArrowDown", "ArrowUp"], (event) => {
    const links = [...(body.current?.querySelectorAll("a[data-run]") ?? [])];
    const row = document.activeElement?.closest?.("tr.run");
    const at = links.findIndex((link) => link.closest("tr") === row);
    if (event.key.startsWith("Arrow") && at === -1) return;
    event.preventDefault();
    if (event.key === "x") {
      row?.querySelector("td.pick input")?.click();
      return;
    }
    const next = links[event.key === "j" || event.key === "ArrowDown" ? at + 1 : Math.max(0, at - 1)];
    next?.focus();
    next?.closest("tr").scrollIntoView({ block: "nearest" });
  });
}

/**
 * `chosen` is a Map of the selected handlers by id, `onChosen` gets another one; without it nothing is selected.
 * `news` holds the ids of runs that have just come: they light up once. Those in `gone` are about to leave the list.
 */
export function Table({ rows, gone, filter, chosen, onChosen, news, label, isBusy }) {
  const body = useRef(null);
  const latest = useRef({});
  latest.current = { ...latest.current, rows, chosen, onChosen };
  useRowKeys(body);
  const choose = useCallback((handler, isChosen, isRange) => {
    const { rows: all, chosen: before, anchor } = latest.current;
    const place = (id) => all.findIndex((row) => row.handler_id === id);
    const ends = [place(handler.handler_id), isRange ? place(anchor) : -1].filter((at) => at >= 0);
    const meant = ends.length === 0 ? [handler] : all.slice(Math.min(...ends), Math.max(...ends) + 1);
    const next = new Map(before);
    for (const row of meant) {
      if (isChosen) next.set(row.handler_id, row);
      else next.delete(row.handler_id);
    }
    latest.current.anchor = handler.handler_id;
    latest.current.onChosen(next);
  }, []);
  const all = rows.length > 0 && rows.every((row) => chosen.has(row.handler_id));
  const toggle = () => onChosen(all ? new Map() : new Map(rows.map((row) => [row.handler_id, row])));
  return html`<table class="runs" aria-label=${label} aria-busy=${isBusy ? "true" : undefined}>
    <thead><tr>
      ${onChosen && html`<th class="pick"><input type="checkbox" checked=${all} indeterminate=${!all && chosen.size > 0}
        aria-label="Select all runs that are shown" onChange=${toggle} /></th>`}
      <th scope="col" class="state">Status</th><th scope="col" class="workflow">Workflow</th><th scope="col" class="what">Now</th>
      <th scope="col" class="tags">Tags</th><th scope="col" class="started">Started</th><th scope="col" class="lasts">Duration</th>
      <th scope="col" class="id">Id</th>
    </tr></thead>
    <tbody ref=${body}>${rows.map((handler) => html`<${Row} key=${handler.handler_id} handler=${handler} filter=${filter}
      isGone=${gone.has(handler.handler_id)} isNew=${news.has(handler.handler_id)} isChosen=${chosen.has(handler.handler_id)}
      onChoose=${onChosen ? choose : null} />`)}</tbody>
  </table>`;
}
