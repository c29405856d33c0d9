// The one stream of changes that all lists of this tab share.
import { follow } from "./api.js";
import { useEffect, useRef } from "./lib.js";

const listeners = new Set();
let stop = null;
let cursor = null;
let isFollowing = false;

/** Return whether the stream tells of changes: where it does not, whoever follows something has to look for himself. */
export const following = () => isFollowing;

/**
 * Call `listener` with each batch of changes: { handlers, purged, reset }: handlers as in the list with include=now,
 * ids that were deleted, and whether changes were lost, so that lists have to be loaded again. Returns how to end it.
 */
export function onChanges(listener) {
  listeners.add(listener);
  if (stop === null) begin();
  return () => {
    listeners.delete(listener);
    // A view that follows at once takes the stream over.
    setTimeout(() => {
      if (listeners.size > 0 || stop === null) return;
      stop();
      stop = null;
      isFollowing = false;
    }, 1000);
  };
}

export function useChanges(listener) {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => onChanges((changes) => latest.current(changes)), []);
}

function begin() {
  let isFirst = true;
  stop = follow(["handlers", "stream"], {
    query: () => ({ cursor }),
    onRefused() {
      isFollowing = false;
    },
    onItems(items) {
      isFollowing = true;
      const changes = { handlers: [], purged: [], reset: false };
      for (const item of items) {
        if (item.handler) changes.handlers.push(item.handler);
        else if (item.purged) changes.purged.push(item.purged);
        else if (item.reset) changes.reset = true;
        cursor = item.cursor ?? cursor;
      }
      // What changed between the first load of a list and the beginning of the stream is not told.
      if (isFirst) changes.reset = true;
      isFirst = false;
      if (changes.reset || changes.handlers.length > 0 || changes.purged.length > 0) {
        for (const listener of [...listeners]) listener(changes);
      }
    },
  });
}
