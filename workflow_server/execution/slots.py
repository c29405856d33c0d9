"""The slots of ``num_concurrent_runs``: who runs, and who waits for a slot, in order."""

from __future__ import annotations


class Slots:
    """The slots of one workflow; without a limit every run gets one."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._holders: set[str] = set()
        self._waiting: dict[str, None] = {}

    def take(self, handler_id: str) -> bool:
        """Return whether the handler's run has a slot now; where it has not, it waits in line for one."""
        if handler_id in self._holders:
            return True
        if self.limit is None or len(self._holders) < self.limit:
            self._waiting.pop(handler_id, None)
            self._holders.add(handler_id)
            return True
        self._waiting.setdefault(handler_id)
        return False

    def give_back(self, handler_id: str) -> str | None:
        """The handler's run needs no slot any more; returns the handler that has got it instead, if one waited."""
        self._waiting.pop(handler_id, None)
        if handler_id not in self._holders:
            return None
        self._holders.discard(handler_id)
        if not self._waiting or (self.limit is not None and len(self._holders) >= self.limit):
            return None
        successor = next(iter(self._waiting))
        self.take(successor)
        return successor

    def waits(self, handler_id: str) -> bool:
        """Return whether the handler waits for a slot."""
        return handler_id in self._waiting
