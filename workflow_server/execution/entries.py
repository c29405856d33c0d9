"""Entries of the journal of which most runs consist, put together from texts: the very text that the codec gives."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from workflow_server.execution.codec import Codec, text_of
from workflow_server.execution.engine import EmissionKey, StepId, StepWorkerResult, TickStepResult, just_ended

LEVEL = 3
"""The values around the event that a step returned: the tick, the list of its results, and the result."""
LATEST = 1e15
"""Seconds: from one second up to here Python and pydantic-core write a number in the same way."""


def result_text(tick: TickStepResult, codec: Codec) -> str | None:
    """Return the text of a step's result that is nothing but an event; None for any other."""
    if tick.sends or tick.invocation_namespace or not just_ended(tick):
        return None
    (result,) = tick.result
    if not isinstance(result, StepWorkerResult) or result.result is None or result.fanned_out:
        return None
    stamp, invocation = tick.stamped_at, tick.invocation_id
    if invocation is None or not _is_simple(stamp, invocation):
        return None
    event = codec.plain_text(result.result, LEVEL)
    if event is None:
        return None
    return (
        f'{{"$":"step_result","step_id":{_step_text(tick.step_id)},"worker_id":{tick.worker_id},'
        f'"result":[{{"$":"result","result":{event}}}],"stamped_at":{stamp!r},"invocation_id":"{invocation}"}}'
    )


def delivery_text(key: EmissionKey, stamp: float | None, takers: str) -> str:
    """Return the entry of an event that a step returned or sent, and that is on its way in the state."""
    if _is_simple(stamp, key.invocation_id):
        return f'{{"ref":["{key.invocation_id}",{key.index}],"stamped_at":{stamp!r}{takers}}}'
    return with_takers({"ref": [key.invocation_id, key.index], "stamped_at": stamp}, takers)


def with_takers(entry: dict[str, Any], takers: str) -> str:
    """Return an entry with the steps that take its event."""
    return f"{text_of(entry)[:-1]}{takers}}}"


def _is_simple(stamp: float | None, invocation: str) -> bool:
    """Return whether both are written as they are."""
    return type(stamp) is float and 1.0 <= stamp < LATEST and invocation.isascii() and invocation.isidentifier()


@lru_cache(maxsize=1024)
def _step_text(step_id: StepId) -> str:
    return text_of({"$": "step", "namespace": {"$": "t", "v": list(step_id.namespace)}, "name": step_id.name})
