// Observable state that several views share.
import { useEffect, useReducer, useRef } from "./lib.js";

/** Return a store: `get()`, `set(patch)` merges into the value, `subscribe(listener)` returns how to end it. */
export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(patch) {
      const changes = typeof patch === "function" ? patch(value) : patch;
      if (Object.keys(changes).every((key) => Object.is(value[key], changes[key]))) return;
      value = { ...value, ...changes };
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Return what `select` takes from a store; the component is drawn again when that changes. */
export function useStore(store, select = (value) => value) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  const chosen = useRef();
  const latest = useRef(select);
  latest.current = select;
  chosen.current = select(store.get());
  useEffect(
    () => {
      const check = () => {
        if (!Object.is(chosen.current, latest.current(store.get()))) redraw();
      };
      check(); // It may have changed between drawing and now.
      return store.subscribe(check);
    },
    [store],
  );
  return chosen.current;
}

/** The rights of this browser: `role` is read, run or full; `name` is null where the server has no tokens. */
export const session = createStore({ role: "full", name: null, known: false });

const ROLES = ["read", "run", "full"];

/** Return whether this browser may do what needs `role`. */
export function may(role) {
  return ROLES.indexOf(session.get().role) >= ROLES.indexOf(role);
}

export function useMay(role) {
  return ROLES.indexOf(useStore(session, (value) => value.role)) >= ROLES.indexOf(role);
}

/** The connection to the server: `state` is connecting, live or lost; `since` in milliseconds. */
export const connection = createStore({ state: "connecting", since: Date.now(), problem: null });

/** The time by which ages are drawn, in milliseconds; it ticks each second while the page is seen. */
export const clock = createStore({ now: Date.now() });
setInterval(() => {
  if (!document.hidden) clock.set({ now: Date.now() });
}, 1000);

export const useNow = () => useStore(clock, (value) => value.now);
