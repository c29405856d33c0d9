// Deep links: everything that is seen is in the hash, so that "back", a bookmark and a mounted application work.
import { createStore, useStore } from "./store.js";

/** Return a link: href(["runs", id], { view: "log" }) is "#/runs/ID?view=log"; lists are repeated, empty values left out. */
export function href(segments, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) {
      if (one !== null && one !== undefined && one !== "" && one !== false) search.append(name, one === true ? "1" : one);
    }
  }
  const text = search.toString();
  return `#/${segments.map(encodeURIComponent).join("/")}${text && `?${text}`}`;
}

const decoded = (segment) => {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
};

function parse() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(search), hash: location.hash };
}

/** Where the page is: `path`, the segments, and `query`, URLSearchParams. */
export const place = createStore(parse());
addEventListener("hashchange", () => place.set(parse()));

export const usePlace = () => useStore(place, (value) => value);

/** Go to a link. `replace` keeps the history as it is: for filters while they are typed. */
export function go(link, { replace = false } = {}) {
  if (link === location.hash) return;
  if (replace) {
    history.replaceState(null, "", link);
    place.set(parse());
  } else {
    location.hash = link;
  }
}

/** Change the query of the place, and keep the rest. */
export function setQuery(changes, { replace = false } = {}) {
  const { path, query } = place.get();
  const all = Object.fromEntries([...new Set(query.keys())].map((name) => [name, query.getAll(name)]));
  go(href(path, { ...all, ...changes }), { replace });
}
