"""A pytest plugin: which process runs which tests, and in which order.

With pytest-xdist the longest tests begin first, so that no core is idle at the end, and the tests of a file that share
a module's fixture stay in one process, which makes it once.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent.parent.parent
SECONDS = 5.0
"""The time of a slow test that names none."""


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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, where several processes share the tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_seconds, reverse=True)


@cache
def _shares_a_fixture(file: str) -> bool:
    return 'scope="module"' in (ROOT / file).read_text(encoding="utf-8")


def _seconds(item: pytest.Item) -> float:
    """Return the time that the mark ``slow`` names."""
    slow = item.get_closest_marker("slow")
    return 0.0 if slow is None else float(slow.args[0]) if slow.args else SECONDS
