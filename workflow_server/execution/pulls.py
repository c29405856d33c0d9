"""A record of the sends that a run had taken out of its mailbox when its process died before that was stored.

While a step ends, the first of its pending sends is taken out of the mailbox, and is reduced before the steps begin
that the step's result starts. On resume that send does not wait for these steps either; every other send does.
"""

from __future__ import annotations

from workflow_server.execution.engine import BrokerState, EmissionKey, TickAddEvent, TickStepResult, WorkflowTick


class Pulls:
    """The results since the last tick that came from the mailbox."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[int, int]] = {}
        """By invocation: the number of the last invocation before its result, and its number of sends."""

    def note(self, tick: WorkflowTick, state: BrokerState) -> None:
        """Note a tick that is about to be reduced into ``state``."""
        if isinstance(tick, TickStepResult) and tick.invocation_id is not None:
            self._results[tick.invocation_id] = (state.invocation_seq, len(tick.sends))
        elif isinstance(tick, TickAddEvent) and not self._was_returned(tick.emission):
            self._results.clear()

    def _was_returned(self, key: EmissionKey | None) -> bool:
        """Return whether a step returned the event, so that it was never in the mailbox."""
        result = None if key is None else self._results.get(key.invocation_id)
        return key is not None and result is not None and key.index >= result[1]

    def had_taken(self, key: EmissionKey | None, state: BrokerState) -> bool:
        """Return whether the run had taken this send, the first one that is on its way.

        It had if nothing else was taken since the sending step ended, and all running steps of ``state`` started after
        that.
        """
        result = None if key is None else self._results.get(key.invocation_id)
        if result is None:
            return False
        return all(
            _number(execution.invocation_id) > result[0]
            for worker in state.workers.values()
            for execution in worker.in_progress
        )

    def to_json(self) -> dict[str, list[int]]:
        """Return the part of a snapshot."""
        return {invocation: list(result) for invocation, result in self._results.items()}

    def restore(self, data: dict[str, list[int]]) -> None:
        """Restore from a snapshot."""
        self._results = {invocation: (last, sends) for invocation, (last, sends) in data.items()}


def _number(invocation_id: str | None) -> int:
    number = (invocation_id or "").rpartition("_")[2]
    return int(number) if number.isdigit() else 0
