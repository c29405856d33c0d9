"""Damaged and foreign files: refused by name and left as they were, or served rightly.

A file is served rightly if everything that the damage did not touch is as it was and its runs go on; if damaged parts
give errors of the server's own; and if the database is in a state that was committed, where the log was damaged.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.spawning import ROOT, clean_environment
from tests.reliability.damaging.damage import KINDS, Damage
from tests.reliability.damaging.specimen import (
    COMPLETED,
    WAITING,
    Rows,
    Specimen,
    answer,
    asked,
    hurt_handlers,
    make_specimen,
    read,
    serve,
)
from tests.reliability.reporting import Extent, Survived
from workflow_server.errors import WorkflowServerError
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.sqlite.store import SqliteWorkflowStore

TARGET = ROOT / "examples" / "hello.py"


class Variant(NamedTuple):
    """A damaged copy: where it is, and what an undamaged reader makes of it."""

    kind: Damage
    path: Path
    found: Rows


@pytest.fixture
def specimen(tmp_path: Path) -> Specimen:
    return asyncio.run(make_specimen(tmp_path))


def variants(specimen: Specimen, folder: Path, count: int, seed: int) -> Iterator[Variant]:
    """Damaged copies, one after the other in one folder: each kind once, then by their weights."""
    chance = random.Random(seed)
    kinds = [*KINDS, *chance.choices(KINDS, [kind.weight for kind in KINDS], k=count - len(KINDS))]
    for kind in kinds:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = specimen.copy(folder, clean=kind.clean)
        kind.do(path, chance)
        looked_at = folder.with_name("looked-at")
        shutil.copytree(folder, looked_at)
        found = specimen.rows(looked_at / path.name)
        shutil.rmtree(looked_at)
        yield Variant(kind, path, found)


def content(path: Path) -> dict[str, bytes]:
    """The files of the database, but for the index of its log, which holds nothing of its own."""
    return {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*") if file.suffix != ".lock"} | {
        f"{path.name}-shm": b""
    }


@pytest.mark.slow(15)
@pytest.mark.timeout(600)
async def test_a_damaged_file_is_refused_untouched_or_served_rightly(
    specimen: Specimen, tmp_path: Path, extent: Extent, survived: Survived, caplog: pytest.LogCaptureFixture
) -> None:
    count = extent.of(short=200, long=1_000)
    outcomes: Counter[str] = Counter()
    caplog.set_level(logging.WARNING)
    for variant in variants(specimen, tmp_path / "damaged", count, extent.seed):
        caplog.clear()
        before = content(variant.path)
        store = SqliteWorkflowStore(variant.path)
        try:
            async with asyncio.timeout(30):
                manager = await serve(store)
        except variant.kind.refused_as:
            assert content(variant.path) == before, f"{variant.kind.name}: the refused file was changed"
            outcomes["refused"] += 1
            continue
        assert not variant.kind.always, f"{variant.kind.name}: it was served"
        assert variant.kind.clean or "was not closed cleanly" in caplog.text, variant.kind.name
        try:
            await judge(variant, specimen, manager, store)
        except BaseException as error:
            error.add_note(f"the damage was: {variant.kind.name}")
            raise
        finally:
            await manager.stop(1.0)
            await store.close()
        outcomes["served"] += 1
    assert min(outcomes.values()) > count // 10
    survived(
        "bits, pages and files damaged, lost, cut off or not ours, found at a start",
        "P3 P5 P8 P9",
        times=outcomes.total(),
        unit="files",
        figures=f"{len(KINDS)} kinds of damage; {outcomes['refused']} refused untouched, {outcomes['served']} served",
    )


async def judge(variant: Variant, specimen: Specimen, manager: RuntimeManager, store: SqliteWorkflowStore) -> None:
    """Check that everything served is right."""
    original = specimen.rows(specimen.clean if variant.kind.clean else specimen.unclean)
    if variant.kind.in_log:
        assert variant.found in specimen.states, "it is in no state that was ever committed"
    hurt = hurt_handlers(original, variant.found)
    for handler_id, kept in specimen.kept.items():
        if handler_id in hurt:
            await look_at_damage(manager, store, handler_id)
            continue
        if kept.handler.status == "running":
            if kept.number < COMPLETED + WAITING:
                await asked(manager, handler_id)
                await answer(manager, handler_id)
            log = await read(manager, handler_id)
            handler = await manager.get_handler(handler_id)
            assert handler.result is not None, handler
            assert handler.result.value["result"] == [*[kept.number] * 30, "yes"]
            assert (handler.run_id, handler.started_at) == (kept.handler.run_id, kept.handler.started_at)
            assert log[: len(kept.log)] == kept.log
        else:
            assert await manager.get_handler(handler_id) == kept.handler
            assert await read(manager, handler_id) == kept.log


async def look_at_damage(manager: RuntimeManager, store: SqliteWorkflowStore, handler_id: str) -> None:
    """Look at what the damage touched: it may be gone, other than it was or unreadable, but the server says so."""
    try:
        await manager.get_handler(handler_id)
        await store.read_events(handler_id, -1, 1_000)
        await store.load_run(handler_id)
    except WorkflowServerError:
        return


@pytest.mark.slow
async def test_the_command_says_what_is_wrong_with_a_file_and_ends(
    specimen: Specimen, tmp_path: Path, extent: Extent, survived: Survived
) -> None:
    refused = 0
    for variant in variants(specimen, tmp_path / "damaged", len(KINDS), extent.seed):
        if not variant.kind.always:
            continue
        before = content(variant.path)
        command = [
            sys.executable,
            "-m",
            "workflow_server",
            "serve",
            str(TARGET),
            "--port",
            "0",
            "--db",
            str(variant.path),
        ]
        ended = subprocess.run(  # noqa: ASYNC221 nothing else runs on this loop
            command, capture_output=True, text=True, env=clean_environment(), timeout=60, check=False
        )
        assert ended.returncode == 2, f"{variant.kind.name}: {ended}"
        last = ended.stderr.splitlines()[-1]
        assert last.startswith("workflow-server: "), f"{variant.kind.name}: {last}"
        assert str(variant.path) in last
        assert "Traceback" not in ended.stderr
        assert content(variant.path) == before
        refused += 1
    assert refused == sum(kind.always for kind in KINDS)
    survived(
        "the command started on a file that is not its own, or not whole",
        "P9 P11",
        times=refused,
        unit="starts",
        figures="each ended with exit code 2 and one sentence that says what to do",
    )
