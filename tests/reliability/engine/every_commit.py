"""Killing a sample after each of its commits, and what must hold when it is resumed from what was on the disk."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tests.reliability.engine.engine_runs import Record, Server, Told, outcome, read
from tests.reliability.samples.sample import Sample, begun

Times = Counter[Told]


class KillPoint(NamedTuple):
    """The state that a kill leaves: the file, and the steps that had begun."""

    path: Path
    begun: list[str]


class DiskCopies:
    """Copies the database files right after each commit, as a crash at that moment would leave them."""

    def __init__(self, live: Path, steps: list[str]) -> None:
        self.points: list[KillPoint] = []
        self._live = live
        self._steps = steps

    def __call__(self, moment: str, records: object) -> None:
        if moment != "after commit":
            return
        copy = self._live.with_name(f"{self._live.stem}-{len(self.points):03}.sqlite3")
        for suffix in ("", "-wal"):
            source = Path(f"{self._live}{suffix}")
            if source.exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        self.points.append(KillPoint(copy, list(self._steps)))


class Durable(NamedTuple):
    """A durable run of a sample, and where it could have been killed."""

    record: Record
    sent: list[str]
    """The events that readers may have been sent before it began."""
    points: list[KillPoint]


async def run_durable(sample: Sample, at: KillPoint, *, idle_timeout: float | None, copied: bool = False) -> Durable:
    """Run a sample from what is in the file to its end, in a server of its own."""
    steps = list(at.begun)
    begun.set(steps)
    copies = DiskCopies(at.path, steps)
    server = Server(at.path, sample, idle_timeout=idle_timeout)
    try:
        await server.start(copies if copied else None)
        handler, log = await server.finish()
    finally:
        await server.stop()
    events = [read(data) for data in log]
    assert log[: len(server.sent)] == server.sent, "what a reader was sent is never taken back"
    if server.runs and len(sample.runs) == 1:
        found = (handler.run_id, datetime.fromisoformat(handler.started_at))
        check_same("the run and its beginning", [found], server.runs)
    return Durable(Record(outcome(handler.status, events), events, steps), server.sent, copies.points)


def remove(points: Iterable[KillPoint]) -> None:
    """Make room on the disk."""
    for point in points:
        for path in point.path.parent.glob(f"{point.path.stem}*"):
            path.unlink()


def check_alike(sample: Sample, basic: Record, durable: Record) -> None:
    """The same workflow did the same on both runtimes."""
    check_same("the outcome", durable.outcome, basic.outcome)
    if sample.side_by_side:
        check_same("the events", unordered(durable.log), unordered(basic.log))
    else:
        check_same("the events", durable.log, basic.log)
        check_same("the steps that began", durable.begun, basic.begun)


def check_same(what: str, found: object, expected: object) -> None:
    """With a message that names both."""
    assert found == expected, f"{what}: {found!r}, and not {expected!r}"


def check_resumed(sample: Sample, basic: Record, whole: Durable, resumed: Durable, *, kills: int) -> None:
    """Check that a run that was killed and resumed ended like an undisturbed one: only steps under way began again."""
    record = resumed.record
    check_same("the outcome", record.outcome, basic.outcome)
    once, total = Counter(whole.record.begun), Counter(record.begun)
    again = total - once
    assert max(again.values(), default=0) <= kills, f"more than what was under way began again: {again}"
    # Which of the steps side by side begin before the run ends depends on the clock: both runtimes are undisturbed.
    assert again.keys() <= {*once, *basic.begun}, f"what had not begun before began: {again}"
    if not sample.side_by_side:
        assert not once - total, f"steps did not begin: {once - total}"
    expected, found = unordered(basic.log), unordered(record.log)
    assert not expected - found, f"events are missing: {expected - found}"
    _check_repeated(found - expected, again, [read(data) for data in resumed.sent])


def _check_repeated(repeated: Times, again: Counter[str], sent: list[Told]) -> None:
    """Published again was only what a step that began again had published, and that it runs."""
    before = unordered(sent)
    under_way = Counter(_ran(event, "running") for event in sent) - Counter(
        _ran(event, "not_running") for event in sent
    )
    for event, times in repeated.items():
        assert times <= before[event], f"published again, and not for a step that began again: {event}"
        if event.type == "Progress":
            assert again[event.fields["by"]], f"published again, though its step did not begin again: {event}"
        else:
            under_way[_ran(event, "running")] -= times
    under_way.pop(None, None)
    assert min(under_way.values(), default=0) >= 0, f"told again that steps run which did not: {repeated}"
    assert all(event.type == "Progress" or _ran(event, "running") for event in repeated), repeated


def _ran(event: Told, state: str) -> str | None:
    fields = event.fields if event.type == "StepStateChanged" else {}
    name: str | None = fields.get("name")
    return name if fields.get("step_state") == state else None


def unordered(log: list[Told]) -> Times:
    """The events by how often they came; without what depends on which of several steps is faster: the numbers of the
    workers, who had to wait for one, which of several events came last, and whether there was nothing to do for a
    moment."""
    loose = (_without_race(event) for event in log if event.type != "WorkflowIdleEvent")
    return Counter(event for event in loose if '"step_state": "preparing"' not in event.value)


def _without_race(event: Told) -> Told:
    if event.type != "StepStateChanged":
        return event
    fields = event.fields
    del fields["worker_id"], fields["input_event_name"]
    return Told(event.type, json.dumps(fields, sort_keys=True))
