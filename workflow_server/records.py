"""Records: what the store is handed, in the order in which it becomes durable, and what it returns.

A *unit* of records becomes durable together or not at all. Times named ``started_at``, ``began_at``, ``ended_at``,
``answered_at`` and ``time`` are the wall clock's, in Unix seconds (UTC), all others the server's clock's; texts named
``data``, ``event``, ``result``, ``response`` or ``patch`` hold JSON.

A record that is *refused* takes its unit with it (``UnitRefused``); one that is *ignored* changes nothing. Of a run
that the store does not know, a record that adds something is refused, and one that changes or removes something
ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

Status = Literal["running", "completed", "failed", "cancelled"]

STATUSES: tuple[Status, ...] = ("running", "completed", "failed", "cancelled")
FINISHED: tuple[Status, ...] = ("completed", "failed", "cancelled")
"""The statuses of handlers whose run has ended."""


NowState = Literal["running", "waiting", "released", "queued", "suspended", "stalled"]
NOW_STATES: tuple[NowState, ...] = ("running", "waiting", "released", "queued", "suspended", "stalled")
"""Activity of a running run: it works; waits for an answer, in memory or outside of it; waits outside of it for
something else; waits for its turn; does not go on for a reason; or nothing can happen in it any more."""


class RunStarted(NamedTuple):
    """A handler begins a run: its first one, or, continuing a completed handler or retrying one that failed or was
    cancelled, the next.

    The next one replaces the run's columns of the handler's row and removes the journal of the run before.
    """

    handler_id: str
    workflow_name: str
    run_id: str
    started_at: float
    first_sequence: int
    start_event: str | None
    requested_at: float | None = None
    """The same moment by the server's clock: the order in which runs get their slots."""
    by: str | None = None
    """The name of the token that started it, where it has one."""
    code_version: str | None = None
    """The version of the workflow's code."""
    trace: str | None = None
    """The trace context of the request that started it; see ``RunTrace``."""


class HandlerTagged(NamedTuple):
    """A handler has these tags, in place of those that it had: a JSON array of texts. Ignored where it is unknown."""

    handler_id: str
    tags: str


class RunBegan(NamedTuple):
    """The run got its slot and its clock starts: ``alive_since`` is now less the time that it has been alive.

    Ignored where the run is not running, as are ``RunReleased``, ``RunLoaded`` and ``RunAttempted``.
    """

    handler_id: str
    run_id: str
    alive_since: float
    began_at: float
    """The same moment by the wall clock."""


class RunReleased(NamedTuple):
    """The run only waits and has left memory; ``wake_at`` is its earliest own deadline."""

    handler_id: str
    run_id: str
    wake_at: float | None
    standing: str | None = None
    """The waits and retries of the run, as JSON."""


class RunLoaded(NamedTuple):
    """The run is in memory again."""

    handler_id: str
    run_id: str


class RunEnded(NamedTuple):
    """The run reached its terminal status; its inbox goes, its events and state stay. The journal and the snapshot of a
    completed run go, too; those of any other stay, so that it can be retried.

    A run ends once: a second end is refused, and so is an event that comes after the end.
    """

    handler_id: str
    run_id: str
    status: Status
    error: str | None
    result: str | None
    ended_at: float
    traceback: str | None = None
    """The traceback of a failure, cut to the frames of the user's code and bounded in size."""


class RunAttempted(NamedTuple):
    """The number of times that the process died while this run was in a step, since its last recorded result."""

    handler_id: str
    run_id: str
    attempts: int
    probations: int


class TickAppended(NamedTuple):
    """One entry of a run's journal; ``seq`` counts 0, 1, 2 … without a gap. Ignored where the run has ended."""

    run_id: str
    seq: int
    data: str


class SnapshotTaken(NamedTuple):
    """The run's state after the tick ``seq``: it replaces the snapshot before it and the journal up to that tick.
    Ignored where the run has ended."""

    run_id: str
    seq: int
    data: str


class StateReplaced(NamedTuple):
    """The contents of ``ctx.store`` after patch ``seq`` (-1 before the first): they replace those before, and the
    patches up to ``seq``."""

    run_id: str
    seq: int
    data: str
    tick: int = -1
    """The last tick of the journal whose change it has; -1 before the first, and in what older builds wrote."""


class StatePatched(NamedTuple):
    """The changes that one step made to ``ctx.store``; ``seq`` counts 0, 1, 2 … over a run."""

    run_id: str
    seq: int
    patch: str
    tick: int = -1
    """The tick that it was written with, or after; see ``StateReplaced``."""


class EventAppended(NamedTuple):
    """One entry of a handler's event log: ``data`` is the read envelope without its sequence.

    ``sequence`` counts 0, 1, 2 … without a gap, over all runs of the handler and with internal events, too. Refused
    where the run is not running, or where the sequence is taken.
    """

    handler_id: str
    sequence: int
    run_id: str
    internal: bool
    data: str
    time: float
    """When it was appended; never before the event before it in the log."""
    took: float | None = None
    """Seconds that a step took, in the event that tells of its end."""


class HistoryNoted(NamedTuple):
    """One entry of a handler's history, beside those that follow from its event log; ``history.noted`` makes it.

    Ignored where the handler has another run, and a suspension where the last entry is the same one.
    """

    handler_id: str
    run_id: str
    after_sequence: int | None
    """The event behind which it stands; None for the last one that is stored when this is."""
    time: float
    kind: str
    by: str | None
    """The name of the token that asked for it, where it has one."""
    data: str


class InboxPosted(NamedTuple):
    """An event that a client posted, until its run takes it. Refused where the run is not running."""

    inbox_id: int
    handler_id: str
    run_id: str
    event: str
    step: str | None
    event_type: str = ""
    """The class of the event, as ``module.Class``; empty where it is not known."""
    size: int = 0
    """Bytes of ``event``."""
    early: bool = False
    """No step accepts it: only a wait can take it."""
    hold: bool = False
    """The client asked to keep it until the next wait for its type begins."""
    held: bool = False
    """The run has come to it, and keeps it until a wait for its type begins."""


class InboxHeld(NamedTuple):
    """The run keeps the event until a wait for its type begins; or, not ``held``, it is given the event after all."""

    inbox_id: int
    held: bool


class InboxTaken(NamedTuple):
    """The run took the event: the tick that took it, or the event that tells that nobody did, stands in the same
    unit."""

    inbox_id: int


class KeyAnswered(NamedTuple):
    """The first answer to an idempotency key; it lasts as long as its handler. A second one is refused."""

    scope: str
    key: str
    handler_id: str
    run_id: str
    body_hash: str
    response: str
    answered_at: float


class QueueAdvanced(NamedTuple):
    """The shared queue of a handler has been written out up to, but without, ``sequence``; it never goes back."""

    handler_id: str
    sequence: int


class ServerAlive(NamedTuple):
    """The server was alive."""

    at: float
    """Time of the note, by the wall clock."""
    ahead: float = 0.0
    """Seconds by which the server's own clock was ahead of the wall clock."""
    uptime: float | None = None
    """Seconds for which the system had been up, where that is known."""
    boot: str | None = None
    """The system's id for this boot, where it has one."""


Record = (
    RunStarted
    | HandlerTagged
    | RunBegan
    | RunReleased
    | RunLoaded
    | RunEnded
    | RunAttempted
    | TickAppended
    | SnapshotTaken
    | StateReplaced
    | StatePatched
    | EventAppended
    | HistoryNoted
    | InboxPosted
    | InboxHeld
    | InboxTaken
    | KeyAnswered
    | QueueAdvanced
    | ServerAlive
)


class StoredEvent(NamedTuple):
    """An event of a handler's log, as readers get it."""

    sequence: int
    internal: bool
    data: str
    time: float | None
    """When it was appended; None of an event that a build stored which noted no times."""


EVENT, START = -2, -1

HISTORY_CURSOR = r"[0-9]{1,18}\.[0-9]{1,18}"
"""A place in a history as clients are given it, as a pattern."""


class HistoryPlace(NamedTuple):
    """A place in a handler's history: an event of its log, or an entry behind that event."""

    sequence: int
    place: int
    """EVENT for the event itself, START for the start of a run behind it, from 0 on for the other entries."""

    def to_text(self) -> str:
        """Return the place as clients are given it, as a cursor."""
        return f"{self.sequence + 1}.{self.place - EVENT}"

    @classmethod
    def from_text(cls, text: str) -> HistoryPlace | None:
        """Return the place that a client was given; None where the text is not one."""
        if re.fullmatch(HISTORY_CURSOR, text) is None:
            return None
        sequence, _, place = text.partition(".")
        return cls(int(sequence) - 1, int(place) + EVENT)


class StoredEntry(NamedTuple):
    """An entry of a handler's history: an event of its log, where there is no ``kind``, or what stands beside it."""

    place: HistoryPlace
    run_id: str
    time: float | None
    kind: str | None
    by: str | None
    data: str | None
    """Of an event its envelope, or, where it is not whole, as much of its end as tells its type; of the start of a run,
    at the place START, its start event, where values are asked for; of another entry what else there is to say, as
    JSON."""
    internal: bool = False
    took: float | None = None
    is_whole: bool = True


class HistoryPage(NamedTuple):
    """Entries of a history, in its order, and the place behind which the next page begins; None where none is left."""

    workflow_name: str
    entries: list[StoredEntry]
    following: HistoryPlace | None


class EventRange(NamedTuple):
    """The extent of a handler's event log."""

    first: int
    """The first sequence of the current run."""
    last: int
    """The last sequence of the log; first - 1 where it is empty."""
    queue_next: int
    """The next sequence of the shared queue."""
    last_time: float | None
    """The time of the last event, None where none is known."""


class StoredRun(NamedTuple):
    """All that is stored of a handler's current run, read in one consistent view."""

    handler_id: str
    workflow_name: str
    run_id: str
    status: Status
    started_at: float
    first_sequence: int
    start_event: str | None
    alive_since: float | None
    attempts: int
    probations: int
    last_sequence: int
    """The last sequence of the handler's event log, -1 where it is empty."""
    queue_sequence: int
    """The next sequence of the handler's shared queue."""
    last_time: float | None
    """The time of the last event in the handler's log, None where none is known."""
    released: bool
    """It only waited, and has left memory for that."""
    code_version: str | None
    """The version of the workflow's code that began the run, None of one that began before it was noted."""
    snapshot: SnapshotTaken | None
    ticks: list[TickAppended]
    """The journal after the snapshot, in order."""
    state: StateReplaced | None
    patches: list[StatePatched]
    """The patches after ``state``, in order."""
    inbox: list[InboxPosted]


class StoredState(NamedTuple):
    """The contents of ``ctx.store`` of a handler's current run, read in one consistent view."""

    workflow_name: str
    run_id: str | None
    status: Status
    ended_at: float | None
    """By the wall clock; None while it runs."""
    is_started: bool
    """A server has started it: where nothing is stored, its steps have written nothing."""
    size: int
    """Bytes of the record and the patches. Where there are more than was asked for, these are left out."""
    record: str | None
    patches: list[str]


class RunningRun(NamedTuple):
    """A run that the store holds as running, as recovery needs it."""

    handler_id: str
    workflow_name: str
    run_id: str
    started_at: float
    released: bool
    wake_at: float | None
    alive_since: float | None
    attempts: int
    probations: int
    has_inbox: bool
    """True if events wait for delivery; events that the run holds do not count."""
    requested_at: float
    """Time at which the run was requested, by the server's clock."""
    held_events: int = 0
    trace: str | None = None
    left_as: Literal["waiting", "stalled"] | None = None
    """Its activity when it was released; None for anything else, or where that is not known."""


class StoredAnswer(NamedTuple):
    """The answer that an idempotency key was given."""

    handler_id: str
    run_id: str
    body_hash: str
    response: str


class StoredHandler(NamedTuple):
    """A handler as a list shows it: nothing of its result is parsed."""

    handler_id: str
    workflow_name: str
    status: Status
    run_id: str | None
    error: str | None
    started_at: float | None
    updated_at: float | None
    completed_at: float | None
    code_version: str | None
    tags: str | None
    """A JSON array of texts; None without any."""
    result: str | None
    damaged: bool
    """There is a result, and it is no envelope."""
    standing: str | None = None
    """The standing with which it was released; see ``RunReleased``."""
    summary: str | None = None
    """The result in a phrase."""

    @property
    def ended_at(self) -> float | None:
        """Return when its run ended, by the wall clock; None while it runs."""
        if self.status == "running":
            return None
        return end_of(self.completed_at, self.updated_at, self.started_at)


def end_of(completed_at: float | None, updated_at: float | None, started_at: float | None) -> float:
    """Return when a run ended that has: of one that was stored without an end, its last change or its start; else 0."""
    return next((time for time in (completed_at, updated_at, started_at) if time is not None), 0.0)


class ListFilter(NamedTuple):
    """The handlers that a list is of, and its order: by their start, and by their ids where that is the same."""

    statuses: Sequence[Status] = STATUSES
    workflow_names: Sequence[str] | None = None
    """None for those of all workflows."""
    started_after: float | None = None
    started_before: float | None = None
    """Bounds of the start, which do not belong to the list, in seconds since the epoch."""
    tags: Sequence[str] = ()
    """Those that a handler has all of."""
    code_versions: Sequence[str] = ()
    """Those of which a handler has one; any, where there are none."""
    text: str | None = None
    """A part of the handler's id, its run's, its workflow's name, its error or one of its tags, in any case."""
    newest_first: bool = False
    handler_ids: frozenset[str] | None = None
    """Those of which a handler is one; any for None."""
    ended_after: float | None = None
    ended_before: float | None = None
    """Bounds of the end, likewise. With one, running runs do not belong to the list."""

    @property
    def is_of_ended(self) -> bool:
        """Return whether the end of a run decides."""
        return self.ended_after is not None or self.ended_before is not None

    def has_started(self, started_at: float | None) -> bool:
        """Return whether a start is within the bounds."""
        return _within(started_at or 0.0, self.started_after, self.started_before)

    def has_ended(self, ended_at: float | None) -> bool:
        """Return whether an end is within the bounds; None stands for no end."""
        if ended_at is None:
            return not self.is_of_ended
        return _within(ended_at, self.ended_after, self.ended_before)


def _within(time: float, after: float | None, before: float | None) -> bool:
    return (after is None or time > after) and (before is None or time < before)


class ListCursor(NamedTuple):
    """A place in a list, behind which the next page begins, and the place up to which the list goes."""

    at: float
    handler_id: str
    end_at: float
    end_id: str


class HandlersPage(NamedTuple):
    """Handlers of a list, in its order, and where the next page begins; None where there is none."""

    handlers: list[StoredHandler]
    cursor: ListCursor | None


class EndedHandler(NamedTuple):
    """A handler whose run has ended, in the order of the ends; those of the same time are in the order of their ids."""

    ended_at: float
    """By the wall clock. Of a handler that was stored without an end, its last change or its start; 0 without any."""
    handler_id: str
    run_id: str | None = None


class HandlerCount(NamedTuple):
    """The number of handlers of a workflow with a status."""

    workflow_name: str
    status: Status
    number: int


class VersionCount(NamedTuple):
    """The number of unfinished runs of a workflow that began with a version of its code."""

    workflow_name: str
    code_version: str | None
    """None for runs from before versions were noted."""
    number: int


class Period(NamedTuple):
    """A time of which statistics are asked for, in buckets of the same width; seconds since the epoch."""

    since: float
    width: float
    buckets: int

    @property
    def until(self) -> float:
        """Return its end, which does not belong to it."""
        return self.since + self.width * self.buckets


class Took(NamedTuple):
    """The durations of runs that completed, in seconds; None without any. Percentiles are exact: between two durations
    they are interpolated."""

    p50: float | None = None
    p95: float | None = None
    longest: float | None = None


class Bucket(NamedTuple):
    """The handlers whose runs started and ended in a part of a period."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    took: Took = Took()


class WorkflowPeriod(NamedTuple):
    """The handlers of a workflow in a period, each with its current run."""

    is_known: bool
    """There are any handlers of it, at whatever time."""
    running: int
    """Those that have not ended, whenever they started."""
    buckets: list[Bucket]
    took: Took
    sampled: bool
    """More would have had to be looked at: only those are counted that started last."""


class InboxLoad(NamedTuple):
    """The load of a run's inbox: the events that only a wait can take are ``early``, the others ``waiting``."""

    waiting: int = 0
    early: int = 0
    size: int = 0
    """Bytes of all of them."""

    def plus(self, other: InboxLoad) -> InboxLoad:
        """Return the sum of both."""
        return InboxLoad(self.waiting + other.waiting, self.early + other.early, self.size + other.size)


class UntakenEvent(NamedTuple):
    """An event in a run's inbox, without its fields."""

    event_type: str
    step: str | None
