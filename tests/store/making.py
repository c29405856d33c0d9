"""Records as the tests of the store need them."""

from __future__ import annotations

from workflow_server.records import EventAppended, RunEnded, RunStarted, Status, TickAppended


def run_started(name: str, *, run: str = "1", workflow: str = "flow", at: float = 1000.0, first: int = 0) -> RunStarted:
    return RunStarted(name, workflow, f"{name}-{run}", at, first, '{"type": "StartEvent"}')


def run_ended(name: str, *, run: str = "1", status: Status = "completed", at: float = 2000.0) -> RunEnded:
    result = '{"value": {"result": 1}, "type": "StopEvent", "types": null, "qualified_name": null}'
    return RunEnded(name, f"{name}-{run}", status, None, result, at)


def event(name: str, sequence: int, *, run: str = "1", data: str = "{}", at: float = 1500.0) -> EventAppended:
    return EventAppended(name, sequence, f"{name}-{run}", False, data, at)


def tick(name: str, seq: int, *, run: str = "1", data: str = "{}") -> TickAppended:
    return TickAppended(f"{name}-{run}", seq, data)
