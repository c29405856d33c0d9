// The view library, named once: views import it from here. https://preactjs.com, https://github.com/developit/htm
export {
  html, render, createContext, useState, useReducer, useEffect, useLayoutEffect, useRef, useMemo, useCallback,
  useContext, useErrorBoundary,
} from "./vendor/htm-preact.js";
