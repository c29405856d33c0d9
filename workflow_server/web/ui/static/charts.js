// Charts: small lines drawn as SVG, and larger ones with axes by uPlot, which is loaded when the first is drawn.
import { html, useEffect, useRef, useState } from "./lib.js";

let loading = null;

function loadUplot() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("vendor/uplot.js", import.meta.url);
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = () => {
      loading = null;
      reject(new Error("The charts could not be loaded."));
    };
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("vendor/uplot.css", import.meta.url);
    document.head.append(style, script);
  });
  return loading;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const DAY = 86_400; // seconds
const dateOf = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const timeOf = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false });

/** Return the labels of an axis of times: hours, and the date where a day begins. */
function timeLabels(plot, ticks) {
  return ticks.map((tick, index) => {
    const time = new Date(tick * 1000);
    const isNewDay = index > 0 && time.toDateString() !== new Date(ticks[index - 1] * 1000).toDateString();
    const isLong = ticks.length > 1 && ticks[1] - ticks[0] >= DAY / 2;
    return isNewDay || isLong ? dateOf.format(time) : timeOf.format(time);
  });
}

/** Return the range of the times: what is counted at the last one lasts until the next would begin. */
function withLast(plot, low, high) {
  const [times] = plot.data;
  return [low, times.length > 1 ? high + times[1] - times[0] : high];
}

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Return the options of uPlot for a chart. */
function optionsOf(Plot, { series, format, width, height, domain }) {
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    scales: { x: { time: true, range: domain ? () => domain : withLast }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.12 : 1] } },
    axes: [{ ...axis, values: timeLabels, size: 28 }, { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => format(tick)) }],
    series: [{}, ...series.map((one) => ({
      label: one.label,
      stroke: colour(one.colour),
      width: one.kind === "bars" ? 0 : 2,
      fill: one.kind === "bars" ? colour(one.colour) : undefined,
      paths: one.kind === "bars" ? Plot.paths.bars({ size: [0.7, 40], align: 1 }) : undefined,
      points: { show: one.kind !== "bars" && one.values.filter((value) => value !== null).length < 2 },
      spanGaps: true,
      dash: one.dashed ? [5, 4] : undefined,
    }))],
  };
}

/**
 * A chart over time. `times` are milliseconds; a series is { label, values, colour: "--done", kind: "line" | "bars",
 * dashed }, drawn in its order: what is stacked comes as sums, the largest first. `summary` says in words what is seen.
 */
export function Chart({ times, series, format = String, height = 160, domain = null, summary }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [problem, setProblem] = useState(null);
  const [hover, setHover] = useState(null);
  const key = series.map((one) => [one.label, one.kind, one.colour].join()).join(";");
  const data = [times.map((ms) => ms / 1000), ...series.map((one) => one.values)];
  const span = domain ? domain.map((ms) => ms / 1000) : null;
  const latest = useRef(null);
  latest.current = { data, series, span };

  useEffect(() => {
    let gone = false;
    const draw = (Plot) => {
      plot.current?.destroy();
      const { data: now, series: shown, span: domainNow } = latest.current;
      const made = optionsOf(Plot, { series: shown, format, width: box.current.clientWidth, height, domain: domainNow });
      made.hooks = { setCursor: [(self) => setHover(self.cursor.idx ?? null)] };
      plot.current = new Plot(made, now, box.current);
    };
    const redraw = () => globalThis.uPlot && !gone && draw(globalThis.uPlot);
    loadUplot().then((Plot) => gone || draw(Plot), (error) => gone || setProblem(error.message));
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: box.current.clientWidth, height }));
    observer.observe(box.current);
    dark.addEventListener("change", redraw);
    return () => {
      gone = true;
      observer.disconnect();
      dark.removeEventListener("change", redraw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [key, height, String(span)]);
  useEffect(() => plot.current?.setData(data), [JSON.stringify(data)]);

  return html`<figure class="chart">
    <figcaption>${series.map((one, index) => html`<span key=${one.label} class="chart-key">
      <i class="swatch ${one.dashed ? "dashed" : ""}" style=${{ background: `var(${one.colour})` }}></i>${one.label}
      ${hover !== null && html` <b class="num">${one.values[hover] === null ? "–" : format((one.raw ?? one.values)[hover])}</b>`}</span>`)}
      ${hover !== null && html`<span class="faint num">${new Date(times[hover]).toLocaleString("en", { weekday: "short", hour: "2-digit", minute: "2-digit", hour12: false })}</span>`}
    </figcaption>
    <div ref=${box} role="img" aria-label=${summary} class="chart-box">${problem}</div>
  </figure>`;
}

/** A line without axes, `values` from old to new, null where there is none. `from` is the lowest that its scale shows. */
export function Sparkline({ values, colour: name = "--accent", label, width = 160, height = 34 }) {
  const known = values.filter((value) => value !== null);
  const top = Math.max(...known, 0) || 1;
  const step = width / Math.max(1, values.length - 1);
  const at = (value, index) => `${(index * step).toFixed(1)},${(height - 2 - (value / top) * (height - 5)).toFixed(1)}`;
  const points = values.map((value, index) => (value === null ? null : at(value, index))).filter(Boolean);
  const first = values.findIndex((value) => value !== null);
  const area = points.length > 1 ? `M${points.join("L")}L${width},${height}L${(first * step).toFixed(1)},${height}Z` : "";
  return html`<svg class="sparkline" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label=${label}>
    <path d=${area} fill="var(${name})" opacity=".12" />
    <path d=${points.length > 1 ? `M${points.join("L")}` : ""} fill="none" stroke="var(${name})" stroke-width="1.6" vector-effect="non-scaling-stroke" />
    <path d="M0 ${height - 1}H${width}" stroke="var(--line)" vector-effect="non-scaling-stroke" />
  </svg>`;
}

/** A figure with its name, and what is drawn below it. */
export function Tile({ title, value, hint, kind = "", children, link }) {
  const content = html`<span class="tile-title">${title}</span><span class="tile-value num ${kind}">${value}</span>
    ${hint && html`<span class="tile-hint">${hint}</span>`}${children}`;
  return link ? html`<a class="tile" href=${link}>${content}</a>` : html`<div class="tile">${content}</div>`;
}
