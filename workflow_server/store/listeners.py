"""The listeners of a store, which hear of each commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from workflow_server.records import Record

logger = logging.getLogger(__name__)

CommitListener = Callable[[Sequence[Record]], None]
"""Called on the event loop with the records of a transaction, in order, right after it was committed and before
anybody who waits for it goes on. It must neither block nor change the sequence, which others get, too. The records
that a store writes for itself (``internal_records``: deletions, handlers given as a whole) are left out, and listeners
do not hear of a transaction of these alone. An error of a listener ends the store: one that only watches has to
catch its own."""


class CommitListeners:
    """The subscribed listeners, each called in the order in which they subscribed."""

    def __init__(self) -> None:
        self._listeners: dict[object, CommitListener] = {}

    def subscribe(self, listener: CommitListener) -> Callable[[], None]:
        """Add a listener, and return a function that removes it."""
        subscription = object()
        self._listeners[subscription] = listener

        def unsubscribe() -> None:
            self._listeners.pop(subscription, None)

        return unsubscribe

    def tell(self, records: Sequence[Record]) -> Exception | None:
        """Tell all listeners of a commit, also where one of them raises; return the first error."""
        first: Exception | None = None
        for listener in tuple(self._listeners.values()):
            try:
                listener(records)
            except Exception as error:
                logger.exception("a listener failed at a commit of %d records, which are stored", len(records))
                first = first or error
        return first
