from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.fault_injection import HookedStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[HookedStore]:
    store = HookedStore(path, persistence_backoff=(0.01, 0.02))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def failing_store(path: Path) -> AsyncIterator[tuple[HookedStore, list[BaseException]]]:
    """A store that is expected to fail for good, and what it reported."""
    store = HookedStore(path, persistence_backoff=(0.01, 0.02))
    failures: list[BaseException] = []
    store.on_failure = failures.append
    await store.open()
    yield store, failures
    await store.close()
