"""Rules that start runs: anew, as the next of a completed handler, rightly and wrongly."""

from __future__ import annotations

import asyncio
import time

from hypothesis import strategies as st

from tests.reliability.model_based.model import Json, ModelHandler
from tests.reliability.model_based.session import (
    NOTEBOOKS,
    Session,
    a_completed_one,
    a_handler,
    action,
    places,
    room,
)
from tests.reliability.model_based.world import PATIENCE, Keyed

WRONG_STARTS: tuple[tuple[int, str, Json], ...] = (
    (404, "unknown", {}),
    (400, "notes", {"start_event": {"label": 5}}),
    (400, "notes", {"start_event": {"type": "Note", "value": {"number": 1}}}),
    (400, "notes", {"start_event": {"label": "a"}, "kwargs": {"label": "b"}}),
    (400, "notes", {"start_event": "{"}),
    (400, "notes", {"unknown": 1}),
    (400, "notes", {"context": {"state": {}, "is_running": False}}),
    (400, "totals", {}),
    (400, "totals", {"start_event": {"number": 1_001}}),
)


class Starting(Session):
    """Starts runs."""

    @action(room, workflow=st.sampled_from(NOTEBOOKS), keyed=st.booleans(), envelope=st.booleans())
    async def start(self, workflow: str, keyed: bool, envelope: bool) -> None:
        await self.begin_notebook(workflow, keyed, envelope)

    async def begin_notebook(self, workflow: str, keyed: bool, envelope: bool) -> None:
        """A notebook is opened; the request is answered when that is durable."""
        label = f"label {self.world.number()}"
        fields: Json = {"label": label}
        body = {"start_event": {"type": "Begin", "value": fields} if envelope else fields}
        path, key = f"/workflows/{workflow}/run-nowait", self.new_key() if keyed else None
        answer = await self.world.wants(200, "POST", path, body, key)
        await self.adopt(answer, workflow, label, Keyed(path, body, key or "", answer, answer["handler_id"]))

    @action(room)
    async def start_and_wait(self) -> None:
        """A client waits for the end; another one, with the same key, is told at once what runs."""
        label, key = f"label {self.world.number()}", self.new_key()
        body = {"start_event": {"label": label}}
        task = asyncio.create_task(self.world.wait_for_end("/workflows/notes/run", body, key), name="waiting client")
        begun = time.monotonic()
        while not await self.unknown_handlers():
            assert not task.done(), f"the waiting client was told {task}, and nothing runs"
            assert time.monotonic() - begun < PATIENCE, "the run for which a client waits was never listed"
        path = "/workflows/notes/run-nowait"
        answer = await self.world.wants(200, "POST", path, body, key)
        self.world.waiting[answer["handler_id"]] = task
        await self.adopt(answer, "notes", label, Keyed(path, body, key, answer, answer["handler_id"]))

    @action(room, number=st.integers(-3, 50), keyed=st.booleans(), waits=st.booleans())
    async def add(self, number: int, keyed: bool, waits: bool) -> None:
        """A run that ends by itself."""
        body = {"start_event": {"number": number}}
        path, key = f"/workflows/totals/run{'' if waits else '-nowait'}", self.new_key() if keyed else None
        await self._total(path, body, key, number)

    @action(a_completed_one, place=places, keyed=st.booleans(), number=st.integers(-1, 50))
    async def continue_(self, place: int, keyed: bool, number: int) -> None:
        """The next run of a completed handler finds the state that the one before has left."""
        completed = self.ended("completed")
        handler = completed[place % len(completed)]
        self.world.counts["continued"] += 1
        key = self.new_key() if keyed else None
        if handler.workflow == "totals":
            body: Json = {"start_event": {"number": number}, "handler_id": handler.handler_id}
            await self._total("/workflows/totals/run", body, key, number)
            return
        label = f"label {self.world.number()}"
        body = {"start_event": {"label": label}, "handler_id": handler.handler_id}
        path = f"/workflows/{handler.workflow}/run-nowait"
        answer = await self.world.wants(200, "POST", path, body, key)
        assert answer["handler_id"] == handler.handler_id
        await self.adopt(answer, handler.workflow, label, Keyed(path, body, key or "", answer, handler.handler_id))

    @action(a_handler, place=places)
    async def continue_wrongly(self, place: int) -> None:
        """Continue a handler that cannot be continued: it is refused, and nothing begins."""
        handler = self.one(place)
        body: Json = {"handler_id": handler.handler_id}
        others = {"notes": "other_notes", "other_notes": "notes", "totals": "notes"}
        await self.world.wants(404, "POST", f"/workflows/{others[handler.workflow]}/run-nowait", body)
        if handler.status != "completed":
            status = 409 if handler.status == "running" else 404
            body["start_event"] = {"number": 1} if handler.workflow == "totals" else {}
            await self.world.wants(status, "POST", f"/workflows/{handler.workflow}/run-nowait", body)

    @action(wrong=st.sampled_from(WRONG_STARTS), waits=st.booleans(), keyed=st.booleans())
    async def start_wrongly(self, wrong: tuple[int, str, Json], waits: bool, keyed: bool) -> None:
        status, workflow, body = wrong
        key = self.new_key() if keyed else None
        await self.world.wants(status, "POST", f"/workflows/{workflow}/run{'' if waits else '-nowait'}", body, key)
        await self.world.wants(404, "POST", "/workflows/notes/run-nowait", {"handler_id": "nobody0000"}, key)

    # -- What they share ---------------------------------------------------------------------------

    async def _total(self, path: str, body: Json, key: str | None, number: int) -> None:
        code, answer = await self.world.call("POST", path, body, key)
        handler = self.world.handlers.setdefault(
            answer["handler_id"], ModelHandler(answer["handler_id"], answer["workflow_name"])
        )
        handler.begin(answer["run_id"], answer["started_at"])
        handler.add(number)
        await self.world.settle(handler)
        if path.endswith("/run"):
            assert (code, answer) == (200 if handler.status == "completed" else 500, handler.shown)
        else:
            assert (code, answer["status"]) == (200, "running")
            if key is not None:
                self.world.keys.append(Keyed(path, body, key, answer, handler.handler_id))

    async def adopt(self, answer: Json, workflow: str, label: str, keyed: Keyed | None) -> ModelHandler:
        """A run of a notebook has begun, and nothing else is new."""
        handler_id = answer["handler_id"]
        assert len(handler_id) == 10
        assert answer["status"] == "running"
        handler = self.world.handlers.setdefault(handler_id, ModelHandler(handler_id, workflow))
        handler.begin(answer["run_id"], answer["started_at"], label)
        handler.check(answer)
        if keyed is not None and keyed.key:
            self.world.keys.append(keyed)
        await self.world.settle(handler)
        return handler

    async def unknown_handlers(self) -> list[Json]:
        """The handlers that the server lists and the model does not know."""
        listed = (await self.world.wants(200, "GET", "/handlers"))["handlers"]
        self.world.transcript.pop()
        return [entry for entry in listed if entry["handler_id"] not in self.world.handlers]

    def new_key(self) -> str:
        """An idempotency key that was not used before."""
        return f"key-{self.world.number()}"
