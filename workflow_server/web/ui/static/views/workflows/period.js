// The time of which figures are shown.
import { html } from "../../lib.js";
import { setQuery } from "../../router.js";

export const PERIODS = { "1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days" };
const USUAL = "24h";

/** Return the period that a place names. */
export function periodOf(query) {
  const named = query.get("period");
  return named in PERIODS ? named : USUAL;
}

export function PeriodChooser({ query }) {
  const chosen = periodOf(query);
  const choose = (event) => setQuery({ period: event.target.value === USUAL ? null : event.target.value }, { replace: true });
  return html`<label class="period"><span class="soft">Last</span> <select value=${chosen} onChange=${choose} aria-label="Period">
    ${Object.entries(PERIODS).map(([key, title]) => html`<option key=${key} value=${key} selected=${key === chosen}>${title}</option>`)}
  </select></label>`;
}
