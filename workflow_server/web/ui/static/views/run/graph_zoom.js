// A drawing in a box that scrolls: zoomed with buttons, keys and the wheel, moved by dragging.
import { useEffect, useLayoutEffect, useRef, useState } from "../../lib.js";

const SMALLEST = 0.25;
const LARGEST = 2;
const HIGHEST = 500; // Pixels of the box.
const READABLE = 0.62; // A graph that would be narrower than this to fit is scrolled,
const COMFORTABLE = 0.75; // and so is one that would be lower than this.

/** Keep the scale of a drawing in its box: { box, scale, height, zoom(factor), fit, onKeyDown, onPointerDown }. */
export function useZoom(layout) {
  const box = useRef(null);
  const [inner, setInner] = useState(400);
  const [asked, setAsked] = useState(null);
  const anchor = useRef(null);
  const width = layout?.width ?? 1;
  const height = layout?.height ?? 1;
  const size = { width: inner, height: HIGHEST };
  const whole = Math.min(1, size.width / width, size.height / height);
  const scale = asked ?? Math.max(READABLE, Math.min(1, size.width / width, Math.max(COMFORTABLE, size.height / height)));
  const zoom = (factor, at = { x: size.width / 2, y: size.height / 2 }) => {
    const element = box.current;
    const next = Math.min(LARGEST, Math.max(Math.min(SMALLEST, whole), scale * factor));
    anchor.current = { x: (element.scrollLeft + at.x) * (next / scale) - at.x, y: (element.scrollTop + at.y) * (next / scale) - at.y };
    setAsked(next);
  };
  useLayoutEffect(() => {
    if (anchor.current) box.current.scrollTo(anchor.current.x, anchor.current.y);
    anchor.current = null;
  }, [scale]);
  useEffect(() => {
    const element = box.current;
    const observer = new ResizeObserver(() => element.clientWidth > 0 && setInner(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const latest = useRef(zoom);
  latest.current = zoom;
  useWheel(box, latest);
  const fit = () => setAsked(whole);
  const onKeyDown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(1 / 1.25), 0: fit }[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  };
  const boxHeight = layout === null ? HIGHEST : Math.min(HIGHEST, Math.max(200, Math.ceil(height * scale) + 2));
  return { box, scale, height: boxHeight, zoom, fit, onKeyDown, onPointerDown: (event) => drag(event, box.current) };
}

/** Zoom with the wheel while Ctrl is pressed, as a touchpad's pinch does; without it the wheel scrolls. */
function useWheel(box, zoom) {
  useEffect(() => {
    const element = box.current;
    const onWheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const { left, top } = element.getBoundingClientRect();
      zoom.current(Math.exp(-event.deltaY / 300), { x: event.clientX - left, y: event.clientY - top });
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, []);
}

/** Scroll a box by dragging what is in it. Fingers scroll by themselves. */
function drag(event, element) {
  if (event.pointerType !== "mouse" || event.button !== 0) return;
  const from = { x: event.clientX + element.scrollLeft, y: event.clientY + element.scrollTop };
  const move = (now) => element.scrollTo(from.x - now.clientX, from.y - now.clientY);
  const stop = () => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", stop);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", stop);
}
