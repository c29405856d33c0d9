// A list of rows of one height, of which only those in sight are drawn: 100,000 rows cost what 40 do.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";

const BEYOND = 8; // Rows drawn above and below those in sight.
const TALLEST = 8_000_000; // Browsers cut elements that are taller than some ten million pixels: then places are scaled.

/** Return where things are: the space that is scrolled, and pixels of the whole list by each pixel of it. */
function measure(count, height, size) {
  const total = count * height;
  const space = Math.min(total, TALLEST);
  return { total, space, ratio: space > size ? (total - size) / (space - size) : 1 };
}

/** Return the row that a key leads to, null for a key that leads nowhere. */
function rowOfKey(key, active, count, page) {
  const moves = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: count - 1 };
  return key in moves && count > 0 ? Math.max(0, Math.min(count - 1, moves[key])) : null;
}

/**
 * `count` rows of `height` pixels, drawn by `row(index)`, which returns an element with a key. `follow` keeps the end in
 * sight while the reader is there. `reveal` is an index to scroll to, `onScroll(isAtEnd)` tells where the reader is.
 * With `onActive(index)` it is a listbox: keys move through its rows, which are options with ids from `idOf(index)`;
 * `active` is the one that has the keyboard, and Enter calls `onChoose(index)`.
 * `handle.current` gets `{ first(), toRow(index, share), reveal(index), shift(rows), toEnd(), isAtEnd(), focus() }`; share 0
 * is the top, 0.5 the middle. With `fit` the list is as tall as its rows; what it may have at most is for its style to say.
 */
export function VirtualList(props) {
  const { count, height, row, follow = false, reveal = null, onScroll, label, class: name = "", handle } = props;
  const { active = null, onActive, onChoose, idOf, fit = false } = props;
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, size: 600 });
  const atEnd = useRef(true);
  const latest = useRef(null);
  const { space, ratio } = measure(count, height, view.size);
  const ratioBefore = useRef(ratio);
  latest.current = { count, height, ratio, follow, onScroll };

  const note = () => {
    const element = box.current;
    atEnd.current = element.scrollTop + element.clientHeight >= element.scrollHeight - latest.current.height;
    setView((before) => {
      const same = before.top === element.scrollTop && before.size === element.clientHeight;
      return same ? before : { top: element.scrollTop, size: element.clientHeight };
    });
    latest.current.onScroll?.(atEnd.current);
  };
  const toEnd = () => {
    box.current.scrollTop = box.current.scrollHeight;
  };
  const toRow = (index, share = 0.5) => {
    const { clientHeight } = box.current;
    const now = measure(latest.current.count, latest.current.height, clientHeight);
    const top = index * latest.current.height - (clientHeight - latest.current.height) * share;
    box.current.scrollTop = Math.max(0, top / now.ratio);
  };
  const seen = (index) => {
    const top = index * height - box.current.scrollTop * ratio;
    return top >= 0 && top <= box.current.clientHeight - height;
  };
  if (handle) {
    const first = () => Math.floor((box.current.scrollTop * latest.current.ratio) / latest.current.height);
    const bring = (index) => seen(index) || toRow(index);
    const shift = (by) => {
      box.current.scrollTop += (by * height) / latest.current.ratio;
    };
    const focus = () => box.current.focus({ preventScroll: true });
    handle.current = { first, toRow, toEnd, shift, focus, reveal: bring, isAtEnd: () => atEnd.current };
  }

  useEffect(() => {
    const observer = new ResizeObserver(() => {
      if (latest.current.follow && atEnd.current) toEnd();
      note();
    });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (follow && atEnd.current) toEnd();
    else if (ratio !== ratioBefore.current) box.current.scrollTop *= ratioBefore.current / ratio; // The same rows stay in sight.
    ratioBefore.current = ratio;
    note();
  }, [count, follow, height, ratio]);
  useLayoutEffect(() => {
    if (reveal !== null && reveal >= 0 && !seen(reveal)) toRow(reveal);
  }, [reveal]);

  const onKey = (event) => {
    if (event.target !== box.current || event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.key === "Enter" || event.key === " ") && active !== null && onChoose) {
      event.preventDefault();
      onChoose(active);
      return;
    }
    const page = Math.max(1, Math.floor(view.size / height) - 1);
    const index = rowOfKey(event.key, active ?? handle?.current.first() - 1, count, page);
    if (index === null) return;
    event.preventDefault();
    if (!seen(index)) toRow(index, index < (active ?? 0) ? 0 : 1);
    onActive(index);
  };

  const shown = Math.ceil(view.size / height) + 1;
  const virtualTop = view.top * ratio;
  const first = Math.max(0, Math.min(Math.floor(virtualTop / height), count - shown) - BEYOND);
  const last = Math.min(count, first + shown + 2 * BEYOND);
  const offset = view.top + first * height - virtualTop;
  const rows = [];
  for (let index = first; index < last; index += 1) rows.push(row(index));
  const isDrawn = active !== null && active >= first && active < last;
  return html`<div class="virtual ${name}" ref=${box} onScroll=${note} tabindex="0"
      role=${onActive ? "listbox" : "list"} aria-label=${label}
      aria-activedescendant=${onActive && isDrawn ? idOf(active) : undefined} onKeyDown=${onActive ? onKey : undefined}
      style=${fit ? { height: `${count * height}px` } : undefined}>
    <div class="virtual-space" style=${{ height: `${space}px` }}>
      <div class="virtual-rows" style=${{ transform: `translateY(${offset}px)` }}>${rows}</div>
    </div>
  </div>`;
}
