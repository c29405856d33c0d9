"""``scripts/large``: a large database beside a small one, and runs while retention deletes."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

from benchmark.client import Connection, Refused, connections
from benchmark.copying import copy_handlers, rows_left
from benchmark.environments import this_build
from benchmark.measuring import THIS
from benchmark.processes import until
from benchmark.subjects import Served, of_build, serving

DESCRIPTION = """\
Makes a database of many handlers that have ended, and measures on it and on a small one, in turn, the time of a start,
of a run, of reading a handler and of a page of the list. Then, with 32 clients, the 99th percentile of a run without
retention, while it deletes handlers, and without it again; and what is left of these in the file, and its size.
"""
MODELS = 300
"""Handlers that each server makes itself; those of the large database are copies of them."""
PAGE = 100
CLIENTS = 32
FREE = 1_100
"""Free pages that a server keeps, and some."""
BOUND, RETENTION_BOUND = 1.3, 1.5

Request = Callable[[Connection, int], Awaitable[object]]


def main() -> int:
    """Do what the options say; return 1 where a bound is broken."""
    parser = argparse.ArgumentParser(
        prog="scripts/large", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--handlers", type=int, default=1_000_000, help="handlers of the large database")
    parser.add_argument("--delete", type=int, default=100_000, help="those of them that retention deletes")
    parser.add_argument("--rounds", type=int, default=20, help="measurements of each request, in turn")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="time for which runs are measured without retention"
    )
    parser.add_argument("--folder", type=Path, help="keep the large database here, and take it from here where it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-") as folder:
        return asyncio.run(_measure(options, Path(folder)))


async def _measure(options: argparse.Namespace, folder: Path) -> int:
    subject = of_build(THIS, this_build())
    async with AsyncExitStack() as stack:
        small, large = [
            await stack.enter_async_context(serving(subject, folder / name, {})) for name in ("small", "large")
        ]
        for served in (small, large):
            await _make_models(served)
        await large.end()
        gone = folder / "gone.sqlite3"
        await asyncio.to_thread(_fill, large.db, gone, options)
        print(f"{options.handlers:,} handlers, {large.db.stat().st_size / 1e9:.2f} GB", flush=True)
        begun = time.monotonic()
        await large.start()
        print(f"started in {time.monotonic() - begun:.1f} s", flush=True)
        is_good = await _compare(small, large, options.rounds)
        await small.end()
        return 0 if await _retain(large, gone, options) and is_good else 1


def _fill(db: Path, gone: Path, options: argparse.Namespace) -> None:
    """Make the large database, or take the one that was made before."""
    kept = None if options.folder is None else options.folder / f"{options.handlers}-{options.delete}.sqlite3"
    if kept is None or not kept.exists():
        copy_handlers(db, options.handlers, options.delete, gone)
        if kept is not None:
            shutil.copyfile(gone, kept.with_suffix(".gone"))
            shutil.copyfile(db, kept)
    else:
        shutil.copyfile(kept, db)
        shutil.copyfile(kept.with_suffix(".gone"), gone)


async def _make_models(served: Served) -> None:
    """Let a server make handlers: some with tags, some with a key, some that are continued or have failed."""
    path = "/workflows/three_steps/run"
    async with connections(served.url, 1) as [connection]:
        for number in range(MODELS):
            body: dict[str, object] = {"start_event": {"text": "x" * (number % 300)}}
            if number % 10 == 0:
                body["tags"] = ["nightly", f"team-{number % 7}"]
            answer = await connection.post(path, body)
            if number % 20 == 1:
                await connection.post(path, {"handler_id": answer["handler_id"]})
            if number % 10 == 3:
                nowait = await connection.post("/workflows/stuck/run-nowait", {})
                await connection.stream("POST", f"/handlers/{nowait['handler_id']}/cancel", b"", lambda _: None)


# -- A large database beside a small one -----------------------------------------------------------


async def _compare(small: Served, large: Served, rounds: int) -> bool:
    """Print the medians of requests to both, made in turn, and their ratio; return whether all are within the bound."""
    times: dict[str, list[tuple[float, float]]] = {}
    async with connections(small.url, 1) as [one], connections(large.url, 1) as [other]:
        requests = [_requests(_ids(served.db)) for served in (small, large)]
        for turn in range(rounds + 1):
            for name in requests[0]:
                pair = [
                    await _median(connection, of[name]) for connection, of in zip((one, other), requests, strict=True)
                ]
                if turn:
                    times.setdefault(name, []).append((pair[0], pair[1]))
    is_good = True
    for name, pairs in times.items():
        ratio = statistics.median(after / before for before, after in pairs)
        before, after = (statistics.median(side) * 1_000 for side in zip(*pairs, strict=True))
        is_good &= ratio <= BOUND
        print(f"{name:6} {before:7.2f} ms small, {after:7.2f} ms large: {ratio:.2f} (at most {BOUND})", flush=True)
    return is_good


def _requests(ids: Sequence[str]) -> dict[str, Request]:
    chance = random.Random(2)

    async def get(connection: Connection, _: int) -> None:
        await _look(connection, f"/handlers/{chance.choice(ids)}")

    return {
        "start": lambda connection, _: connection.post("/workflows/three_steps/run-nowait", {}),
        "run": lambda connection, _: connection.post("/workflows/three_steps/run", {}),
        "get": get,
        "page": lambda connection, _: _look(connection, f"/handlers?limit={PAGE}&order=desc"),
    }


async def _look(connection: Connection, path: str) -> None:
    status, body = await connection.get(path)
    # 202 stands for a run that goes on, and 500 for one that has failed.
    if status not in (200, 202, 500):
        raise Refused(f"GET {path}: {status} {body[:300].decode(errors='replace')}")


async def _median(connection: Connection, request: Request, count: int = 25) -> float:
    each = []
    for number in range(count):
        begun = time.perf_counter()
        await request(connection, number)
        each.append(time.perf_counter() - begun)
    # What was only started is over before the next request is measured.
    await asyncio.sleep(0.05)
    return statistics.median(each)


def _ids(db: Path) -> list[str]:
    """Return the ids of some handlers, from anywhere in the file."""
    query = "SELECT handler_id FROM handlers WHERE status <> 'running' ORDER BY handler_id LIMIT 2000"
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute(query)]


# -- Retention -------------------------------------------------------------------------------------


async def _retain(served: Served, gone: Path, options: argparse.Namespace) -> bool:
    """Print what retention costs runs, and what it leaves; return whether that is within the bound."""
    retain = {"WORKFLOW_SERVER_RETAIN": "completed=30d,cancelled=30d,failed=30d"}
    before = await _p99(served, {}, lambda elapsed, _: elapsed > options.seconds)
    size = served.db.stat().st_size
    during = await _p99(served, retain, lambda _, swept: swept >= options.delete)
    after = await _p99(served, {}, lambda elapsed, _: elapsed > options.seconds)
    ratio = during / statistics.mean((before, after))
    told = f"{before * 1_000:.0f} ms before, {during * 1_000:.0f} ms during, {after * 1_000:.0f} ms after"
    print(f"p99 of a run beside retention: {told}: {ratio:.2f} (at most {RETENTION_BOUND})", flush=True)
    # The runs that were measured took the room of what was deleted: the number of handlers is made what it should be.
    most = options.handlers - options.delete
    await _restart(served, {"WORKFLOW_SERVER_RETAIN_RUNS": str(most)})
    await until(lambda: _is_settled(served.db, most), pause=2.0)
    await served.end()
    left = await asyncio.to_thread(rows_left, served.db, gone)
    print(f"rows of deleted handlers: {json.dumps(left)}")
    print(f"file: {size / 1e6:,.1f} MB before, {served.db.stat().st_size / 1e6:,.1f} MB after", flush=True)
    return ratio <= RETENTION_BOUND and not any(left.values()) and served.db.stat().st_size < size


def _is_settled(db: Path, most: int) -> bool:
    """Return whether there are so many handlers, and few free pages."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        handlers: int = connection.execute("SELECT count(*) FROM handlers").fetchone()[0]
        free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
        return handlers <= most and free <= FREE


async def _restart(served: Served, environment: Mapping[str, str]) -> None:
    await served.end()
    served.set_environment(environment)
    await served.start()


async def _p99(served: Served, environment: Mapping[str, str], is_over: Callable[[float, int], bool]) -> float:
    """Start the server anew, and return the 99th percentile of runs, in seconds, until it is over: a function of the
    seconds that have passed and of the handlers that were deleted."""
    await _restart(served, environment)
    each: list[float] = []
    begun, swept, ended = time.perf_counter(), 0, False

    async def client(connection: Connection) -> None:
        while not ended:
            start = time.perf_counter()
            await connection.post("/workflows/three_steps/run", {})
            each.append(time.perf_counter() - start)

    async with connections(served.url, CLIENTS + 1) as [looking, *opened]:
        clients = [asyncio.ensure_future(client(connection)) for connection in opened]
        while not is_over(time.perf_counter() - begun, swept):
            await asyncio.sleep(0.2)
            swept = await _swept(looking)
        ended = True
        await asyncio.gather(*clients)
    seconds, percentiles = time.perf_counter() - begun, statistics.quantiles(each, n=100)
    told = f"median {percentiles[49] * 1_000:.1f} ms, p99 {percentiles[98] * 1_000:.1f} ms"
    print(f"{len(each):,} runs by {CLIENTS} clients in {seconds:.0f} s, {swept:,} handlers deleted: {told}", flush=True)
    return percentiles[98]


async def _swept(connection: Connection) -> int:
    _, body = await connection.get("/metrics")
    found = re.search(rb"^workflow_server_handlers_swept_total ([0-9.e+]+)$", body, re.MULTILINE)
    return int(float(found[1])) if found else 0


if __name__ == "__main__":
    sys.exit(main())
