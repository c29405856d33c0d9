// Times, durations, numbers and names as people read them.

const pad = (number) => String(number).padStart(2, "0");
const DAY = 86_400;

/** Return milliseconds since the epoch of an ISO time, null for null. */
export const toMs = (iso) => (iso === null || iso === undefined || iso === "" ? null : Date.parse(iso));

/** Return a duration in seconds as two units at most: "3 ms", "1.24 s", "44 s", "12 m 08 s", "4 d 4 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 0.0005) return "0 ms";
  if (s < 1) return `${Math.max(1, Math.round(s * 1000))} ms`;
  if (s < 10) return `${s.toFixed(s < 9.95 ? 1 : 0)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${pad(whole % 60)} s`;
  if (whole < DAY) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(whole / DAY)} d ${Math.floor((whole % DAY) / 3600)} h`;
}

/** Return how long ago a time was, roughly: "just now", "12 min ago", "3 h ago", "4 d ago". */
export function ago(ms, now) {
  const s = Math.max(0, (now - ms) / 1000);
  if (s < 5) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < DAY) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / DAY)} d ago`;
}

const WEEKDAY = new Intl.DateTimeFormat("en", { weekday: "short" });
const DATE = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const DATE_YEAR = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });

/** Return a time of day: "14:02"; with its weekday in the last six days, else with its date. */
export function moment(ms, now, { seconds = false } = {}) {
  if (ms === null) return "–";
  const time = new Date(ms);
  const clock = `${pad(time.getHours())}:${pad(time.getMinutes())}${seconds ? `:${pad(time.getSeconds())}` : ""}`;
  if (time.toDateString() === new Date(now).toDateString()) return clock;
  const days = Math.abs(now - ms) / 1000 / DAY;
  if (days < 6) return `${WEEKDAY.format(time)} ${clock}`;
  return `${(days < 300 ? DATE : DATE_YEAR).format(time)} ${clock}`;
}

/** Return a time of day with milliseconds: "14:02:11.204". */
export function exact(ms) {
  const time = new Date(ms);
  return `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

const NUMBER = new Intl.NumberFormat("en");
export const number = (value) => (value === null || value === undefined ? "–" : NUMBER.format(value));

export function percent(share) {
  if (share === null || share === undefined) return "–";
  const hundred = share * 100;
  // A success rate is 100 % only where nothing failed.
  return `${share < 1 && hundred > 99.9 ? "99.9" : hundred.toFixed(hundred % 1 === 0 ? 0 : 1)} %`;
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Return "1 event", "2 events". */
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** Return a text in one line of at most `most` characters. */
export function line(text, most = 200) {
  const flat = String(text).slice(0, most * 4).replace(/\s+/g, " ").trim();
  return flat.length > most ? `${flat.slice(0, most - 1)}…` : flat;
}

/** Return the last part of a qualified name: "Approval" of "reviews.events.Approval". */
export const shortName = (name) => String(name ?? "").split(/[.:]/).pop();

// Controls, and characters that turn the direction of a text: shown as they are, they would hide what it says.
const HIDDEN = /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;
const escape = (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Return a text whose control characters can be seen; line ends and tabs stay. */
export const visible = (text) => text.replace(HIDDEN, escape);
