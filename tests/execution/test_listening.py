"""The manager as a listener of the store."""

from __future__ import annotations

from collections.abc import Callable

from workflow_server.runs.manager import RuntimeManager
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.listeners import CommitListener


class CountingStore(SqliteWorkflowStore):
    """Counts its subscriptions."""

    subscriptions = 0

    def subscribe(self, listener: CommitListener) -> Callable[[], None]:
        unsubscribe = super().subscribe(listener)
        self.subscriptions += 1

        def leave() -> None:
            self.subscriptions -= 1
            unsubscribe()

        return leave


async def test_a_stopped_manager_follows_no_commits_any_more() -> None:
    store = CountingStore(":memory:")
    for _ in range(2):
        manager = RuntimeManager(store)
        manager.listen()
        assert store.subscriptions > 0
        await store.open()
        await manager.resume()
        await manager.stop(0.0)
        assert store.subscriptions == 0
        await store.close()


async def test_a_manager_whose_store_does_not_open_leaves_nothing() -> None:
    store = CountingStore("/nowhere/at/all.sqlite3")
    manager = RuntimeManager(store)
    manager.listen()
    manager.release()
    assert store.subscriptions == 0
