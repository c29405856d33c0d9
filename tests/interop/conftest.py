"""Fixtures for the environments of the consumers, and for the observations made with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.consumers import Environments
from tests.interop.table import Seen, write_table


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what ``scripts/interop`` passes on."""
    parser.addoption("--folder", type=Path, help="Where the consumers are installed, and kept.")
    parser.addoption("--write", action="store_true", help="Write what was seen into docs/interop.md.")


@pytest.fixture(scope="session")
def environments(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Environments in which the consumers run."""
    folder: Path | None = pytestconfig.getoption("--folder")
    return Environments(folder.resolve() if folder is not None else tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="session")
def seen(pytestconfig: pytest.Config) -> Iterator[Seen]:
    """Observations of each consumer, which become the table."""
    seen: Seen = {}
    yield seen
    if pytestconfig.getoption("--write"):
        write_table(seen)
