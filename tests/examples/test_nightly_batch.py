"""The nightly batch on the engine alone, and its ledger."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import nightly_batch as batch
import pytest
from ledger import Entry, Ledger


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "new folder" / "ledger.ndjson"
    monkeypatch.setenv("NIGHTLY_BATCH_LEDGER", str(path))
    return path


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_each_good_invoice_is_posted_once_each_wrong_one_listed(path: Path) -> None:
    done: batch.BatchDone = await batch.nightly_batch.run(start_event=batch.Batch(day="2026-03-31", pause=0))

    entries = read(path)
    assert done.posted == len(entries) == len({entry["reference"] for entry in entries}) == 22
    assert Decimal(done.total) == sum(Decimal(entry["amount"]) for entry in entries)
    assert [tuple(item) for item in done.rejected] == [
        ("INV-0009", "'twelve' is no amount"),
        ("INV-0018", "-45.00 is not above zero"),
    ]
    assert done.tries == 36


async def test_the_same_night_again_posts_nothing_and_another_night_does(path: Path) -> None:
    for day in ("2026-03-31", "2026-03-31", "2026-04-01"):
        await batch.nightly_batch.run(start_event=batch.Batch(day=day, pause=0))
    assert len(read(path)) == 44


def test_a_reference_stands_in_the_ledger_once_whoever_posts_it(path: Path) -> None:
    entries = [Entry(f"day/{number // 8}", "somebody", "1.00") for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(Ledger(path).post, entries))
    assert written.count(True) == len(read(path)) == 50


def test_a_line_that_a_crash_cut_short_is_no_entry(path: Path) -> None:
    Ledger(path).post(Entry("day/1", "somebody", "1.00"))
    with path.open("a") as file:
        file.write('{"reference": "day/2", "cust')

    assert Ledger(path).post(Entry("day/2", "somebody", "2.00"))

    assert [entry["reference"] for entry in read(path)] == ["day/1", "day/2"]
