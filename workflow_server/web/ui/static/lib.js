// The view library, named once: views import it from here. Preact, its hooks and htm are classic scripts, which the
// document loads before all modules: their own modules would need an import map, which is an inline script.
// https://preactjs.com, https://github.com/developit/htm
const { createContext, h, render } = globalThis.preact;

export const {
  useCallback, useContext, useEffect, useErrorBoundary, useLayoutEffect, useMemo, useReducer, useRef, useState,
} = globalThis.preactHooks;
export const html = globalThis.htm.bind(h);
export { createContext, render };
