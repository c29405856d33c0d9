"""Invariants of a load, however often its server was killed. Each function returns the violations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from tests.harness.api import Json, StreamEvent
from tests.harness.ledger import Entry
from tests.reliability.killing.cursor_readers import OVER, RECORDED, CursorReader
from tests.reliability.killing.load import QueueReading, Run, TimedWait
from tests.reliability.targets.workload import ALIVE, COUNTED, ITEMS, RETRY_DELAY

ORDER = {"chain": ("one", "two", "three"), "tally": ("split", "work", "join"), "asks": ("tell",)}
"""The steps that mark their beginning, of workflows in which each waits for the result of all work before it."""
WORK = {
    "chain": {"one": 1, "two": 1, "three": 1},
    "tally": {"split": 1, "work": ITEMS, "join": 1},
    "asks": {"tell": 1},
    "counting": {"count": COUNTED},
    "sums": {"add": 1},
    "imports": {"bring": 1},
}
"""Number of work items of each step, in a run that completes."""


class Work:
    """The work items of all runs, as the ledger has them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self.begun: Counter[tuple[str, str, str]] = Counter()
        """Number of times that each run's step began with each work item."""
        for entry in self.entries:
            if entry.kind == "begin":
                self.begun[run_of(entry.item), entry.step, entry.item] += 1

    @property
    def repeated(self) -> int:
        """Return the number of beginnings that were not the first of their work item."""
        return sum(self.begun.values()) - len(self.begun)

    @property
    def seen(self) -> int:
        """Return the number of step results that readers saw recorded, of the steps that mark their beginning."""
        items = self.items()
        return sum(entry.kind == RECORDED and (entry.item, entry.step) in items for entry in self.entries)

    def items(self) -> dict[tuple[str, str], int]:
        """Return the number of work items of each run's step."""
        return dict(Counter((run_id, step) for run_id, step, _ in self.begun))


def run_of(key: str) -> str:
    """The run that a step's idempotency key belongs to."""
    return key.partition(":")[0]


# -- P1, P2: acknowledged means kept -----------------------------------------------------------


def not_kept(runs: Iterable[Run]) -> list[str]:
    """Acknowledged runs that did not become what they had to, or as another run, with another beginning or tags."""
    problems = []
    for run in runs:
        ended = run.ended
        if ended is None:
            problems.append(f"{run.handler_id}: never ended")
        elif any(ended[name] != run.started[name] for name in ("run_id", "started_at", "tags")):
            problems.append(f"{run.handler_id}: {run.started} went on as {ended}")
        elif run.expected is not None and outcome(run) != run.expected:
            problems.append(f"{run.workflow} {run.handler_id}: {outcome(run)}, not {run.expected}: {ended}")
    return problems


def outcome(run: Run) -> object:
    """Return the end of a run: the value of its plain StopEvent, or the type of its other terminal event."""
    assert run.ended is not None
    if run.ended["status"] == "completed":
        return run.ended["result"]["value"]["result"]
    return None if run.terminal is None else run.terminal.type


def not_told(
    runs: Iterable[Run], answered: Mapping[str, int], cancelled: Iterable[Run], histories: Mapping[str, list[Json]]
) -> list[str]:
    """Runs whose start, acknowledged answers or acknowledged cancellation are not told, or told twice."""
    problems = []
    gone = {run.run_id for run in cancelled}
    for run in runs:
        told = Counter(entry["kind"] for entry in histories[run.handler_id] if entry["run_id"] == run.run_id)
        if told["started"] != 1:
            problems.append(f"{run.workflow} {run.run_id}: started {told['started']} times")
        if run.run_id in answered and told["event_sent"] != answered[run.run_id]:
            problems.append(f"{run.run_id}: {told['event_sent']} of {answered[run.run_id]} answers are told")
        if run.run_id in gone and told["cancel_requested"] != 1:
            problems.append(f"{run.run_id}: cancelled, and that is told {told['cancel_requested']} times")
    return problems


def interrupted_untold(runs: Iterable[Run], histories: Mapping[str, list[Json]]) -> list[str]:
    """Runs with one step at a time in whose history a step begins again without a resume before it."""
    problems = []
    for run in runs:
        is_under_way = False
        for entry in histories[run.handler_id] if run.workflow == "chain" else ():
            if entry["kind"] == "step_began":
                if is_under_way:
                    problems.append(f"{run.run_id}: {entry['step']} begins again at {entry['cursor']}")
                is_under_way = True
            elif entry["kind"] in ("step_ended", "resumed"):
                is_under_way = False
    return problems


# -- P3: what was recorded never begins again --------------------------------------------------


def begun_again(work: Work) -> list[str]:
    """Steps that a reader had seen recorded, and that began after that.

    A run's step has so many work items; when ``n`` of its results have been seen, at most the others may still begin.
    """
    items = work.items()
    seen = Counter((entry.item, entry.step) for entry in work.entries if entry.kind == RECORDED)
    later: dict[tuple[str, str], set[str]] = defaultdict(set)
    problems = []
    for entry in reversed(work.entries):
        if entry.kind == "begin":
            later[run_of(entry.item), entry.step].add(entry.item)
        elif entry.kind == RECORDED:
            place = (entry.item, entry.step)
            if place in items and len(later[place]) > items[place] - seen[place]:
                problems.append(
                    f"{entry}: {seen[place]} recorded, and then {len(later[place])} of {items[place]} began"
                )
            seen[place] -= 1
    return problems


def out_of_order(work: Work, runs: Iterable[Run]) -> list[str]:
    """Runs in which a step began after one that waits for its result."""
    steps: dict[str, list[str]] = defaultdict(list)
    for entry in work.entries:
        if entry.kind == "begin":
            steps[run_of(entry.item)].append(entry.step)
    return [
        f"{run.workflow} {run.run_id}: {steps[run.run_id]}"
        for run in runs
        if run.workflow in ORDER and steps[run.run_id] != sorted(steps[run.run_id], key=ORDER[run.workflow].index)
    ]


def begun_when_over(work: Work) -> list[str]:
    """Steps that began after the end of their run had been seen, or its cancellation or deletion acknowledged."""
    over: set[str] = set()
    problems = []
    for entry in work.entries:
        if entry.kind == OVER:
            over.add(entry.step)
        elif entry.kind == "begin" and run_of(entry.item) in over:
            problems.append(str(entry))
    return problems


def other_keys(work: Work, runs: Iterable[Run]) -> list[str]:
    """Completed runs whose steps had more or fewer idempotency keys than work items."""
    items = work.items()
    return [
        f"{run.workflow} {run.run_id}: {items.get((run.run_id, step), 0)} keys for {count} of {step}"
        for run in runs
        if run.ended is not None and run.ended["status"] == "completed" and not run.run_id.startswith("run-of-")
        for step, count in WORK.get(run.workflow, {}).items()
        if items.get((run.run_id, step), 0) != count
    ]


# -- P6: state moves with steps ----------------------------------------------------------------


def saw_something_else(work: Work) -> list[str]:
    """Steps that, when they began again, saw another state than when they first began."""
    first: dict[str, str] = {}
    problems = []
    for entry in work.entries:
        if entry.kind == "saw":
            key, _, state = entry.item.partition(" ")
            if first.setdefault(key, state) != state:
                problems.append(f"{entry.step} {key}: first {first[key]}, then {state}")
    return problems


# -- P4, P5: readers ---------------------------------------------------------------------------


def with_holes(readers: Iterable[CursorReader]) -> list[str]:
    """Readers whose events have a gap, a repetition or no terminal event at the end."""
    problems = []
    for reader in readers:
        problems += reader.wrong
        sequences = [event.sequence for event in reader.events]
        if sequences != list(range(len(sequences))):
            problems.append(f"{reader.handler_id}: {sequences}")
        elif not reader.events or not reader.events[-1].terminal:
            problems.append(f"{reader.handler_id}: no terminal event")
    return problems


def taken_back(readers: Iterable[CursorReader], logs: dict[str, list[StreamEvent]]) -> list[str]:
    """Readers that were sent something else than what a reader is sent who comes when all is over."""
    return [
        f"{reader.handler_id}: {reader.events} is {logs[reader.handler_id]} now"
        for reader in readers
        if reader.events[-len(logs[reader.handler_id]) :] != logs[reader.handler_id]
    ]


def lost_from_queue(queues: Iterable[QueueReading]) -> list[str]:
    """Shared queues that left out an event; what their readers had not given back may come again after a kill."""
    problems = []
    for queue in queues:
        public = {event.sequence for event in queue.run.reader.events if event.type != "StepStateChanged"}
        if missing := public - set(queue.sequences):
            problems.append(f"{queue.run.handler_id}: {sorted(missing)} of {sorted(public)} did not come")
    return problems


# -- P7: time ----------------------------------------------------------------------------------


def untimely(waits: Iterable[TimedWait], work: Work) -> list[str]:
    """Waits that ended before their time, or that timed out though their answer had been acknowledged before."""
    asked: dict[str, float] = {}
    ended: dict[str, float] = {}
    for entry in work.entries:
        if entry.kind == "asks":
            asked.setdefault(entry.handler_id, float(entry.item))
        elif entry.kind == "timed-out":
            ended.setdefault(entry.handler_id, float(entry.item))
    problems = []
    for wait in waits:
        handler_id, result = wait.run.handler_id, outcome(wait.run)
        # The wait itself began right after, and is the longer for it.
        earliest = asked[handler_id] + wait.seconds
        in_time = wait.answered_at is not None and wait.answered_at < earliest
        if result == "timed out":
            if in_time or ended[handler_id] < earliest:
                problems.append(f"{handler_id}: timed out at {ended[handler_id]}, {wait}, not before {earliest}")
        elif wait.answered_at is None or not isinstance(result, int):
            problems.append(f"{handler_id}: {result}, {wait}")
    return problems


def impatient(runs: Iterable[Run]) -> list[str]:
    """Runs whose own timeout came before they had been there for so long."""
    return [
        f"{run.handler_id}: {run.ended}"
        for run in runs
        if run.workflow == "patient" and run.ended is not None and _lasted(run.ended) < ALIVE
    ]


def _lasted(handler: Json) -> float:
    started, completed = (datetime.fromisoformat(handler[name]) for name in ("started_at", "completed_at"))
    return (completed - started).total_seconds()


def hasty(work: Work) -> list[str]:
    """Retries that came before their delay was over, or that went back to an attempt whose failure was recorded."""
    last: dict[str, tuple[int, float]] = {}
    problems = []
    for entry in work.entries:
        if entry.kind != "attempt":
            continue
        key, _, at = entry.item.partition(" ")
        number, moment = int(entry.step), float(at)
        before, when = last.get(key, (0, 0.0))
        if number < before or number > before + 1 or (number > before and moment < when + RETRY_DELAY):
            problems.append(f"{key}: attempt {before} at {when}, then {number} at {moment}")
        last[key] = (number, moment)
    return problems
