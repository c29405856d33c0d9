"""The conditions that must hold after the next clean start, given what a client was told before."""

from __future__ import annotations

from collections import Counter

from tests.harness.api import Api, Json, StreamEvent
from tests.reliability.faulty_disk.scripted_session import Memory, Told

Handlers = dict[str, Json]


async def judge(api: Api, memory: Memory) -> None:
    """All that was acknowledged is there, what was refused is nowhere, and the rest is whole or not there. Everything
    is purged after, so that what the next session leaves is its own."""
    handlers = await _listed(api)
    await _judge_keys(api, memory, handlers)
    for handler_id in memory.purged:
        assert handler_id not in handlers, "a purged handler is back"
        assert (await api.call("GET", f"/handlers/{handler_id}"))[0] == 404
    for handler_id, told in memory.handlers.items():
        if handler_id not in handlers:
            assert told.maybe_purged, f"{told} was acknowledged, and is not there"
            continue
        await _judge_handler(api, handler_id, told, handlers[handler_id])
    await _judge_strangers(api, memory, handlers)
    for handler_id in await _listed(api):
        assert (await api.call("POST", f"/handlers/{handler_id}/cancel?purge=true"))[0] == 200
    assert await _listed(api) == {}


async def _listed(api: Api) -> Handlers:
    answer = await api.wants("GET", "/handlers")
    return {handler["handler_id"]: handler for handler in answer["handlers"]}


async def _judge_keys(api: Api, memory: Memory, handlers: Handlers) -> None:
    for key, handler_id in memory.keys.items():
        label = key.replace("-key", "-counted")
        body = {"start_event": {"label": label}}
        again = await api.wants("POST", "/workflows/count/run-nowait", body, headers={"Idempotency-Key": key})
        assert handler_id in (None, again["handler_id"]), "the key starts another run than before"
        if handler_id is None:
            handlers.setdefault(again["handler_id"], again)
            memory.handlers[again["handler_id"]] = Told("count", label, again["run_id"])


async def _judge_handler(api: Api, handler_id: str, told: Told, handler: Json) -> None:
    status = handler["status"]
    assert status != "failed", f"a fault of the storage has failed a run: {handler}"
    if told.cancelled or told.maybe_cancelled:
        assert status in (("cancelled",) if told.cancelled else ("running", "cancelled")), f"{told} is {status}"
    else:
        assert status != "cancelled", f"{told} was cancelled by nobody"
    continued = handler["run_id"] != told.run_id
    assert not continued or told.maybe_continued, f"{told} has another run"
    result = None if status == "cancelled" else await _finished(api, handler_id, told.workflow)
    if result is not None:
        assert result["label"] == told.label, f"{told} is the run of {result}"
        if told.ended is not None and not continued:
            assert told.ended["value"]["result"] == result, "another result than before"
    if told.workflow == "count":
        assert result is not None
        assert result["n"] == told.runs + continued, f"{told} has counted to {result}"
        await _judge_state(api, handler_id, told, result["n"])
    elif result is not None:
        _judge_texts(told, result["texts"])
    await _judge_log(api, handler_id, told)


async def _judge_state(api: Api, handler_id: str, told: Told, n: int) -> None:
    """The state that the last run left is found by one that continues it."""
    body = {"handler_id": handler_id, "start_event": {"label": told.label}}
    handler = await api.wants("POST", "/workflows/count/run", body)
    assert handler["result"]["value"]["result"]["n"] == n + 1, f"{told}: the state was lost, or is another's"


def _judge_texts(told: Told, texts: list[str]) -> None:
    taken = Counter(texts)
    assert max(taken.values(), default=1) == 1, f"{told}: an event came twice: {texts}"
    assert [text for text in texts if text in told.texts] == told.texts, f"{told} has got only {texts}"
    assert set(texts) <= {*told.texts, *told.maybe_texts}, f"{told} has got what was refused: {texts}"


async def _judge_log(api: Api, handler_id: str, told: Told) -> None:
    """Check that every event that was read is there, at its place, and that none is missing in between."""
    # A cursor of -1 is the start of the current run; the log goes back to the first.
    first = 0 if await _runs_of(api, handler_id) == 1 else 1
    events: list[StreamEvent] = [event async for event in api.stream(handler_id, first - 1, internal=True)]
    assert [event.sequence for event in events] == list(range(first, first + len(events))), events
    found = {event.sequence: event for event in events}
    assert events[-1].terminal, events
    for sequence, event in told.seen.items():
        assert sequence < first or found.get(sequence) == event, f"{told}: event {event} was taken back: {events}"


async def _runs_of(api: Api, handler_id: str) -> int:
    """Return the number of its runs: the current run of a continued handler does not begin with event 0."""
    async for event in api.stream(handler_id, -1, internal=True):
        return 1 if event.sequence == 0 else 2
    return 1


async def _judge_strangers(api: Api, memory: Memory, handlers: Handlers) -> None:
    """A handler that nobody was told of is that of a request which was not answered, once for each."""
    labels: list[str] = []
    for handler_id in handlers.keys() - memory.handlers.keys():
        workflow = handlers[handler_id]["workflow_name"]
        result = await _finished(api, handler_id, workflow)
        labels.append(result["label"])
    assert set(labels) <= memory.unanswered, f"runs were started that were refused: {labels}"
    assert len(labels) == len(set(labels)), f"runs were started twice: {labels}"


async def _finished(api: Api, handler_id: str, workflow: str) -> Json:
    if workflow == "inbox":
        body = {"event": {"type": "Answer", "value": {"last": True}}}
        status, answer = await api.call("POST", f"/events/{handler_id}", body)
        assert status in (200, 409), answer
    result: Json = await api.result(handler_id)
    return result
