// A list of rows of one height, of which only those in sight are drawn: 100,000 rows cost what 40 do.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";

const BEYOND = 8; // Rows drawn above and below those in sight.
const TALLEST = 8_000_000; // Browsers cut elements that are taller than some ten million pixels.

/**
 * `count` rows of `height` pixels, drawn by `row(index)`, which returns an element with a key. `follow` keeps the end in
 * sight while the reader is there. `reveal` is an index to scroll to, `onScroll(isAtEnd)` tells where the reader is.
 */
export function VirtualList({ count, height, row, follow = false, reveal = null, onScroll, label, class: name = "" }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, size: 600 });
  const atEnd = useRef(true);
  const total = count * height;
  const scale = total > TALLEST ? total / TALLEST : 1;

  const note = () => {
    const element = box.current;
    atEnd.current = element.scrollTop + element.clientHeight >= element.scrollHeight - height;
    setView({ top: element.scrollTop, size: element.clientHeight });
    onScroll?.(atEnd.current);
  };
  useEffect(() => {
    const observer = new ResizeObserver(note);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (follow && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [count, follow]);
  useLayoutEffect(() => {
    if (reveal === null || reveal < 0) return;
    const element = box.current;
    const at = (reveal * height) / scale;
    if (at < element.scrollTop || at > element.scrollTop + element.clientHeight - height) {
      element.scrollTop = Math.max(0, at - element.clientHeight / 2);
    }
  }, [reveal]);

  const shown = Math.ceil(view.size / height);
  const first = Math.max(0, Math.min(Math.floor((view.top * scale) / height), count - shown) - BEYOND);
  const last = Math.min(count, first + shown + 2 * BEYOND);
  const offset = first * height - view.top * scale + view.top;
  const rows = [];
  for (let index = first; index < last; index += 1) rows.push(row(index));
  return html`<div class="virtual ${name}" ref=${box} onScroll=${note} tabindex="0" role="list" aria-label=${label}>
    <div class="virtual-space" style=${{ height: `${total / scale}px` }}>
      <div class="virtual-rows" style=${{ transform: `translateY(${offset}px)` }}>${rows}</div>
    </div>
  </div>`;
}
