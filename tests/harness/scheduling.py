"""A pytest plugin: which process runs which tests, in which order, and those that run alone.

With pytest-xdist the longest tests begin first, so that no core is idle at the end, and the tests of a file that share
a module's fixture stay in one process, which makes it once. A test marked ``alone`` has the machine for itself: it
measures memory or rates, which a neighbour would change. Every process holds a shared lock while it runs a test, and an
exclusive one while it runs one of those.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent.parent.parent
SECONDS = 5.0
"""The time of a slow test that names none."""

_lock = pytest.StashKey[Path]()


class FixtureScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process the next test, or the next file whose tests share a fixture, in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _shares_a_fixture(file) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FixtureScheduling:
    return FixtureScheduling(config, log)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return more processes than cores: each waits much of its time, for servers, deadlines and the disk."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_configure(config: pytest.Config) -> None:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is not None:
        config.stash[_lock] = Path(tempfile.gettempdir()) / f"pytest-{run}.lock"


def pytest_unconfigure(config: pytest.Config) -> None:
    if _lock in config.stash:
        config.stash[_lock].unlink(missing_ok=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest first and those that run alone last, where several processes share the tests."""
    if _lock in config.stash:
        items.sort(key=_rank)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for the others to finish their tests, where this one runs alone, before its timeout begins."""
    if _lock not in item.config.stash:
        return (yield)
    with _locked(item.config.stash[_lock], exclusive=item.get_closest_marker("alone") is not None):
        return (yield)


@cache
def _shares_a_fixture(file: str) -> bool:
    return 'scope="module"' in (ROOT / file).read_text(encoding="utf-8")


def _rank(item: pytest.Item) -> tuple[bool, float]:
    """Order by the seconds that the mark ``slow`` names, the most first."""
    slow = item.get_closest_marker("slow")
    seconds = 0.0 if slow is None else slow.args[0] if slow.args else SECONDS
    return item.get_closest_marker("alone") is not None, -seconds


@contextmanager
def _locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
