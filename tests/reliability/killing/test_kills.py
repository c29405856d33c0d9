"""Kill -9 under load, at random moments and before, inside and after every kind of commit: every promise holds."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.api import Api, Json, StreamEvent
from tests.harness.tables import BY_HANDLER
from tests.reliability.killing import invariants
from tests.reliability.killing.clients import CLIENTS
from tests.reliability.killing.cursor_readers import CursorReader, stream
from tests.reliability.killing.kill_points import checkpoint_points, commit_points, migration_points
from tests.reliability.killing.lives import Victim, plans
from tests.reliability.killing.load import Load
from tests.reliability.reporting import Extent, Survived

pytestmark = [pytest.mark.slow(90), pytest.mark.timeout(600)]

SHORT, LONG = 60, 500
IDLE_TIMEOUT = "0.4"
"""Seconds after which a run that only waits leaves memory: many do so, and are killed while they do."""


@dataclass
class Aftermath:
    """The state of the load and its server when all was over."""

    victim: Victim
    load: Load
    work: invariants.Work
    logs: dict[str, list[StreamEvent]]
    """The event logs, read when all was over."""
    histories: dict[str, list[Json]]
    """The histories of the same handlers."""
    handlers: dict[str, Json]
    """All handlers that were left."""
    found_deleted: list[str]
    """Deleted handlers that were still found."""

    @property
    def readers(self) -> list[CursorReader]:
        """The readers of all handlers that were left."""
        return list({run.handler_id: run.reader for run in self.load.runs}.values())


@pytest.fixture(scope="module")
def aftermath(extent: Extent, tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    return asyncio.run(kill_over_and_over(tmp_path_factory.mktemp("kills"), extent))


async def kill_over_and_over(folder: Path, extent: Extent) -> Aftermath:
    chance = random.Random(extent.seed)
    todo = plans(extent.of(short=SHORT, long=LONG), chance)
    victim = Victim(folder, "--idle-timeout", IDLE_TIMEOUT)
    victim.server.open()
    load = Load(victim.server.api, victim.server.ledger, victim.up)
    try:
        load.begin(CLIENTS, chance)
        await victim.die(todo, chance)
        await victim.live_on()
        await load.finish()
        return await look_around(victim, load)
    except BaseException as error:
        error.add_note(f"The server logged:\n{victim.server.log_tail()}")
        raise
    finally:
        await load.abandon()
        await victim.server.close()


async def look_around(victim: Victim, load: Load) -> Aftermath:
    """Read everything once more."""
    _, answer = await load.requests.look("/handlers")
    handlers = {handler["handler_id"]: handler for handler in answer["handlers"]}
    found = [name for name in load.deleted if (await load.requests.look(f"/handlers/{name}"))[0] != 404]
    logs: dict[str, list[StreamEvent]] = {}
    for reader in {run.handler_id: run.reader for run in load.runs}.values():
        # From the second event on: before the first one stands the start of the current run only.
        logs[reader.handler_id] = await read_log(load.api, reader.handler_id)
    histories = {handler_id: await read_history(load, handler_id) for handler_id in logs}
    work = invariants.Work(victim.server.ledger.entries())
    assert await victim.server.stop() == 0
    found += rows_left(victim.server.db, load.deleted)
    return Aftermath(victim, load, work, logs, histories, handlers, found)


async def read_log(api: Api, handler_id: str) -> list[StreamEvent]:
    return [event async for event in stream(api, handler_id, 0, sse=False)]


async def read_history(load: Load, handler_id: str) -> list[Json]:
    """All of a handler's history, page by page."""
    found: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        _, page = await load.requests.look(f"/handlers/{handler_id}/history?limit=500&cursor={cursor}")
        found += page["history"]
        cursor = page["next_cursor"]
    return found


def rows_left(db: Path, deleted: list[str]) -> list[str]:
    """The rows of deleted handlers; and what is wrong with the database, of which nothing may be."""
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return [
            f"{table}: {name}"
            for table in BY_HANDLER
            for (name,) in connection.execute(f"SELECT DISTINCT handler_id FROM {table}")
            if name in deleted
        ]


def first(problems: Iterable[str]) -> str:
    """Enough of them to see what is wrong."""
    return "\n".join(list(problems)[:5])


def test_the_server_was_killed_at_every_point(aftermath: Aftermath, extent: Extent, survived: Survived) -> None:
    victim = aftermath.victim
    missed = ", ".join(point.name for point in victim.missed)
    assert not missed, f"never reached: {missed}. A kind of record needs a client of the load that brings it about"
    reached = set(victim.at_points)
    migrations, checkpoints, commits = [
        {point.name for point in points} for points in (migration_points(), checkpoint_points(), commit_points())
    ]
    assert reached >= migrations | checkpoints
    kinds = {point.kind for point in commit_points()}
    assert {point.kind for point in commit_points() if point.name in reached} == kinds
    if extent.long:
        assert reached >= commits
    assert aftermath.work.repeated > 0, "no step was interrupted at all"
    survived(
        "`kill -9` before, inside and after commits, at migrations, at checkpoints and while the server stops",
        "P1–P8",
        times=sum(victim.at_points.values()),
        unit="kills",
        figures=f"{len(reached)} points, every one of {len(kinds) + 1} kinds of record",
    )
    survived(
        "`kill -9` at random moments under load",
        "P1–P8",
        times=victim.at_random,
        unit="kills",
        figures=f"{len(aftermath.load.runs):,} runs, {aftermath.work.repeated:,} interrupted steps",
    )


def test_what_was_acknowledged_is_kept(aftermath: Aftermath, survived: Survived) -> None:
    load = aftermath.load
    assert first(invariants.not_kept(load.runs)) == ""
    assert {run.handler_id for run in load.runs} <= set(aftermath.handlers)
    assert {run.ended["status"] for run in load.cancelled if run.ended} == {"cancelled"}
    assert set(load.imported) <= set(aftermath.handlers)
    assert aftermath.found_deleted == []
    assert load.deleted
    assert not set(load.deleted) & set(aftermath.handlers)
    assert load.requests.lost > 0, "no request lost its server"
    survived(
        "the server dies with requests under way: runs, answers, cancellations and deletions that were acknowledged",
        "P1 P2 P8",
        times=len(load.runs) + load.answers + len(load.cancelled) + len(load.deleted),
        unit="acknowledgements",
        figures=f"{len(load.runs):,} runs, {load.answers:,} answers, {len(load.cancelled):,} cancellations, "
        f"{len(load.deleted):,} deletions; {load.requests.lost:,} requests lost their server",
    )


def test_the_history_tells_what_was_acknowledged_and_lost(aftermath: Aftermath, survived: Survived) -> None:
    load, histories = aftermath.load, aftermath.histories
    assert first(invariants.not_told(load.runs, load.answered, load.cancelled, histories)) == ""
    assert first(invariants.interrupted_untold(load.runs, histories)) == ""
    told = [entry for entries in histories.values() for entry in entries]
    resumed = sum(entry["reason"] == "crash" for entry in told if entry["kind"] == "resumed")
    assert resumed > 0
    survived(
        "the history of what was acknowledged, and of steps that a death interrupted",
        "P2 P3",
        times=len(told),
        unit="entries",
        figures=f"{resumed:,} resumes after a crash; each answer and each start once",
    )


def test_a_key_is_answered_alike_before_and_after(aftermath: Aftermath, survived: Survived) -> None:
    repeater = aftermath.load.repeater
    assert first(repeater.wrong) == ""
    assert repeater.refused > 0
    survived(
        "acknowledged requests sent again under their keys, to servers of later lives",
        "P1 P2",
        times=repeater.repeated,
        unit="repetitions",
        figures=f"byte for byte the first answer; {repeater.refused:,} with another body refused",
    )


def test_a_step_whose_result_was_seen_never_begins_again(aftermath: Aftermath, survived: Survived) -> None:
    work, runs = aftermath.work, aftermath.load.runs
    assert work.seen > 0
    assert first(invariants.begun_again(work)) == ""
    assert first(invariants.out_of_order(work, runs)) == ""
    assert first(invariants.begun_when_over(work)) == ""
    assert first(invariants.other_keys(work, runs)) == ""
    survived(
        "steps interrupted by the death of the process begin again, those that were recorded do not",
        "P3",
        times=len(work.begun),
        unit="steps",
        figures=f"{work.repeated:,} began again, each under its idempotency key; "
        f"none of {work.seen:,} that a reader had seen recorded",
    )


def test_state_is_that_of_the_finished_steps(aftermath: Aftermath, survived: Survived) -> None:
    assert first(invariants.saw_something_else(aftermath.work)) == ""
    # The results of these are what they counted, beside others and across the runs of a handler.
    counted = [run for run in aftermath.load.runs if run.workflow in ("tally", "counting", "sums", "inbox")]
    assert first(invariants.not_kept(counted)) == ""
    survived(
        "steps that write to the state, alone and side by side, interrupted in the middle",
        "P6",
        times=len(counted),
        unit="runs",
        figures="counters, lists and sums exact; a step that begins again sees what it saw",
    )


def test_no_reader_has_a_gap_a_repetition_or_something_taken_back(aftermath: Aftermath, survived: Survived) -> None:
    readers = aftermath.readers
    assert first(invariants.with_holes(readers)) == ""
    assert first(invariants.taken_back(readers, aftermath.logs)) == ""
    assert first(invariants.lost_from_queue(aftermath.load.queues)) == ""
    cut_off = sum(reader.cut_off for reader in readers)
    assert cut_off > 0, "no reader lost its server"
    survived(
        "readers that leave, and whose server dies in the middle of the stream, come back with their cursor",
        "P4 P5",
        times=sum(reader.connections for reader in readers),
        unit="connections",
        figures=f"{sum(len(reader.events) for reader in readers):,} events by SSE and NDJSON in turn, "
        f"{cut_off:,} streams cut off",
    )


def test_time_is_kept(aftermath: Aftermath, survived: Survived) -> None:
    load, work = aftermath.load, aftermath.work
    assert first(invariants.untimely(load.waits, work)) == ""
    assert first(invariants.impatient(load.runs)) == ""
    assert first(invariants.hasty(work)) == ""
    results = [invariants.outcome(wait.run) for wait in load.waits]
    timed_out = results.count("timed out")
    assert 0 < timed_out < len(results)
    survived(
        "deadlines of waits and workflows and delays of retries that pass while the server dies or is dead",
        "P7",
        times=sum(run.workflow in ("waits", "patient", "flaky") for run in load.runs),
        unit="runs",
        figures=f"{timed_out} waits timed out, none early; {len(results) - timed_out} were answered in time",
    )


def test_no_healthy_run_fails_in_quarantine(aftermath: Aftermath, survived: Survived) -> None:
    victim = aftermath.victim
    assert victim.suspended, "no run was in a step at three deaths in a row"
    failed = [handler for handler in aftermath.handlers.values() if handler["status"] == "failed"]
    # Those of ``patient`` end so, by their own timeout.
    assert [handler for handler in failed if handler["workflow_name"] != "patient"] == []
    survived(
        "healthy runs that were in a step at death after death of the process",
        "P8",
        times=victim.kills,
        unit="kills",
        figures=f"{len(victim.suspended)} runs were in quarantine, none was failed there",
    )
