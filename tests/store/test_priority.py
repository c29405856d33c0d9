"""Units that are stored even on a full disk: cancellations and purges, with the earlier ones of their handlers."""

from __future__ import annotations

import pytest

from tests.store.making import event, run_ended, run_started, tick
from workflow_server.store.batch import Batch, Unit
from workflow_server.store.internal_records import Entries, PurgeMarked
from workflow_server.store.priority import is_urgent, urgent_units


def units(*entries: Entries) -> list[Unit]:
    batch = Batch()
    return [Unit(each, batch, lambda: None) for each in entries]


def test_an_urgent_unit_takes_along_the_units_of_its_run() -> None:
    cancelled = (event("a", 1), run_ended("a", status="cancelled"))
    waiting = units((tick("a", 0),), (tick("b", 0),), (event("a", 0),), cancelled, (event("a", 2),), (event("b", 0),))
    assert urgent_units(waiting) == [waiting[0], waiting[2], waiting[3]]


def test_a_deletion_takes_what_its_handlers_wrote_before() -> None:
    waiting = units((event("a", 0),), (event("b", 0),), (PurgeMarked('["b"]'),))
    assert urgent_units(waiting) == waiting[1:]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_a_run_does_by_itself_waits_for_room(status: str) -> None:
    assert not is_urgent((run_ended("a", status=status),))  # type: ignore[arg-type]
    assert urgent_units(units((run_started("a"),), (event("a", 0),))) == []
