"""Runs that are suspended: running by their status, but making no progress, for a reason that their handlers show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from workflow_server.runs.activation import Activation
from workflow_server.runs.exceptions import RunSuspended
from workflow_server.runs.run import Run
from workflow_server.runs.states import PROBATION, UNREGISTERED, RunState

_IN_WORDS = {
    UNREGISTERED: ("is of a workflow that is not registered", "are of workflows that are not registered"),
    PROBATION: ("is in quarantine", "are in quarantine"),
}
_UNFIT = ("does not fit the code", "do not fit the code")


def suspensions(runs: Iterable[Run]) -> str:
    """Return how many of the runs are suspended and why, for the log of a start; an empty text where none is."""
    reasons = Counter(run.suspended for run in runs if run.state is RunState.SUSPENDED)
    counts: Counter[tuple[str, str]] = Counter()
    for reason, count in reasons.items():
        counts[_IN_WORDS.get(reason or "", _UNFIT)] += count
    if not counts:
        return ""
    parts = [f"{count} {words[count != 1]}" for words, count in counts.items()]
    return f"{counts.total()} suspended: {', '.join(parts)}"


async def resume_suspended(activation: Activation, run: Run, *, by: str | None = None) -> None:
    """Try again to load a run that is suspended. The caller holds its handler's lock. ``by``: the name of the client's
    token, for the history.

    Raises:
        RunSuspended: it still cannot go on, for the reason that the error names.
    """
    if run.suspended not in _IN_WORDS:
        await activation.load_suspended(run, by)
    if run.state is RunState.SUSPENDED and run.suspended is not None:
        raise RunSuspended(run.handler_id, run.suspended)
