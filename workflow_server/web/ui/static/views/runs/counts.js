// The counts above the list: each is a link to the view that it counts.
import { html } from "../../lib.js";
import { number } from "../../format.js";
import { href } from "../../router.js";
import { VIEWS, hashOfView } from "./filter.js";

export function Counts({ stats, filter }) {
  return html`<nav class="counts" aria-label="Runs by status">
    ${Object.entries(VIEWS).map(([show, view]) => {
      const count = stats === null ? undefined : view.count(stats);
      const isSeen = filter.show === show;
      if (!isSeen && (view.isLinkedOnly || (view.rare && !count))) return null;
      return html`<${Count} key=${show} view=${view} count=${count} isSeen=${isSeen} link=${href(["runs"], hashOfView(filter, show))} />`;
    })}
  </nav>`;
}

function Count({ view, count, isSeen, link }) {
  // A colour is for what is there: of nothing it would be an alarm.
  const kind = count > 0 ? view.kind : "none";
  return html`<a href=${link} class=${kind} aria-current=${isSeen ? "true" : undefined}>
    <b class="num">${count === undefined ? "…" : number(count)}</b> <span>${view.title}</span>
  </a>`;
}
