"""Rules that send to runs: what they are to do, wrong events, repeated keys, and their end."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.reliability.model_based.model import Json, ModelHandler
from tests.reliability.model_based.session import Session, a_handler, a_running_one, action, an_ended_one, places
from tests.reliability.model_based.world import CODES, Keyed

WRONG_EVENTS: tuple[Json, ...] = (
    {"event": {"type": "Nonsense", "value": {}}},
    {"event": {"type": "Note", "value": {"number": "many"}}},
    {"event": {"type": "Note", "value": {}}},
    {"event": {"value": {"number": 1}}},
    {"event": "["},
    {"event": {"type": "os.system", "value": {}}},
    {"event": {"type": "Note", "value": {"number": 1}}, "step": "nowhere"},
    {"event": {"type": "Note", "value": {"number": 1}}, "step": "finish"},
    {"event": {"type": "Note", "value": {"number": 1}}, "unknown": 1},
    {},
)


def event_body(kind: str, step: str | None = None, **value: object) -> Json:
    """The body that sends this event."""
    return {"event": {"type": kind, "value": value}, **({} if step is None else {"step": step})}


def a_question(session: Session) -> bool:
    """A notebook waits for an answer."""
    return any(handler.questions for handler in session.running())


def a_key(session: Session) -> bool:
    """Something was acknowledged under an idempotency key."""
    return bool(session.world.keys)


class Sending(Session):
    """Sends events, and ends runs."""

    @action(
        a_running_one,
        place=places,
        many=st.integers(1, 4),
        keyed=st.booleans(),
        to_step=st.booleans(),
        waits=st.booleans(),
    )
    async def note(self, place: int, many: int, keyed: bool, to_step: bool, waits: bool) -> None:
        """Notes are taken exactly once, in order; also where nobody waits for one before sending the next."""
        handler = self.one_running(place)
        for _ in range(many):
            number = self.world.number()
            await self.send(handler, event_body("Note", "take" if to_step else None, number=number), keyed)
            handler.note(number)
        if waits:
            await self.world.settle(handler)

    @action(a_running_one, place=places, keyed=st.booleans())
    async def answer_early(self, place: int, keyed: bool) -> None:
        """An answer that comes before any question is kept for the one that it answers."""
        handler = self.one_running(place)
        await self.world.settle(handler)
        if handler.asked:
            return
        number = self.world.number()
        await self.send(handler, event_body("Answer", number=number, text=f"answer {number}"), keyed)
        handler.answer(number, f"answer {number}")
        self.world.counts["early answers"] += 1

    @action(a_running_one, place=places)
    async def ask(self, place: int) -> None:
        handler = self.one_running(place)
        await self.world.settle(handler)
        number = handler.early[0] if handler.early else self.world.number()
        await self.send(handler, event_body("Ask", number=number))
        handler.ask(number)
        await self.world.settle(handler)

    @action(a_question, place=places, question=places, stray=st.sampled_from((False, False, True)), keyed=st.booleans())
    async def answer(self, place: int, question: int, stray: bool, keyed: bool) -> None:
        """The answer to one of the questions reaches that one; one to no question reaches nobody."""
        asking = [handler for handler in self.running() if handler.questions]
        handler = asking[place % len(asking)]
        await self.world.settle(handler)
        number = self.world.number()
        if not stray:
            number = handler.questions[question % len(handler.questions)]
            self.world.counts["answers"] += 1
        await self.send(handler, event_body("Answer", number=number, text=f"answer {number}"), keyed)
        handler.answer(number, f"answer {number}")
        await self.world.settle(handler)

    @action(a_running_one, place=places)
    async def hold(self, place: int) -> None:
        """A step begins, and is under way until the gate is opened."""
        handler = self.one_running(place)
        await self.world.settle(handler)
        if handler.holding is None:
            handler.holding = self.world.number()
            await self.send(handler, event_body("Hold", number=handler.holding, gate=f"gate-{handler.holding}"))
            await self.world.server.ledger.reached(f"gate-{handler.holding}")
            return
        self.world.server.ledger.open(f"gate-{handler.holding}")
        handler.held()
        await self.world.settle(handler)

    @action(a_running_one, place=places, keyed=st.booleans())
    async def finish(self, place: int, keyed: bool) -> None:
        handler = self.one_running(place)
        await self.world.settle(handler)
        await self.send(handler, event_body("Finish"), keyed)
        handler.finish()
        await self.world.settle(handler)

    @action(a_running_one, place=places)
    async def fail(self, place: int) -> None:
        handler = self.one_running(place)
        await self.world.settle(handler)
        reason = f"told to fail, {self.world.number()}"
        await self.send(handler, event_body("Fail", reason=reason))
        handler.fail(reason)
        await self.world.settle(handler)

    @action(a_handler, place=places, wrong=st.sampled_from(WRONG_EVENTS), keyed=st.booleans())
    async def send_wrongly(self, place: int, wrong: Json, keyed: bool) -> None:
        """Send an event that no run takes: it is refused and changes nothing, and the key is free for the right one."""
        handler = self.one(place)
        key = f"key-{self.world.number()}" if keyed else None
        well_formed = wrong.keys() <= {"event", "step"} and wrong and wrong["event"] != "["
        status = 400 if handler.status == "running" or not well_formed else 409
        await self.world.wants(status, "POST", f"/events/{handler.handler_id}", wrong, key)
        await self.world.wants(404, "POST", "/events/nobody0000", event_body("Note", number=1), key)
        if handler.status == "running":
            number = self.world.number()
            await self.send(handler, event_body("Note", number=number), key)
            handler.note(number)

    @action(an_ended_one, place=places, keyed=st.booleans())
    async def send_too_late(self, place: int, keyed: bool) -> None:
        """A run that has ended takes nothing, and is not cancelled either."""
        ended = self.ended()
        handler = ended[place % len(ended)]
        key = f"key-{self.world.number()}" if keyed else None
        kind = "Summand" if handler.workflow == "totals" else "Note"
        await self.world.wants(409, "POST", f"/events/{handler.handler_id}", event_body(kind, number=1), key)
        await self.world.wants(404, "POST", f"/handlers/{handler.handler_id}/cancel")

    @action(a_key, place=places, differs=st.booleans(), waits=st.booleans())
    async def repeat(self, place: int, differs: bool, waits: bool) -> None:
        """The same key is answered alike and does nothing twice; with another body it is refused."""
        keyed = self.world.keys[place % len(self.world.keys)]
        self.world.counts["repeated keys"] += 1
        handler = self.world.handlers[keyed.handler_id]
        if differs:
            await self.world.wants(422, "POST", keyed.path, _other(keyed.body), keyed.key)
        elif waits and handler.status != "running" and keyed.path.endswith("-nowait"):
            await self._repeat_and_wait(handler, keyed)
        else:
            again = await self.world.wants(200, "POST", keyed.path, keyed.body, keyed.key)
            assert again == keyed.answer, f"{keyed.key} was answered {keyed.answer}, and now {again}"

    async def _repeat_and_wait(self, handler: ModelHandler, keyed: Keyed) -> None:
        path = keyed.path.removesuffix("-nowait")
        if keyed.answer["run_id"] != handler.run_id:
            await self.world.wants(409, "POST", path, keyed.body, keyed.key)
            return
        assert await self.world.wants(CODES[handler.status], "POST", path, keyed.body, keyed.key) == handler.shown

    @action(a_running_one, place=places)
    async def cancel(self, place: int) -> None:
        handler = self.one_running(place)
        answer = await self.world.wants(200, "POST", f"/handlers/{handler.handler_id}/cancel")
        assert answer == {"status": "cancelled"}
        handler.cancel()
        await self.world.settle(handler)
        await self.world.wants(404, "POST", f"/handlers/{handler.handler_id}/cancel")

    @action(a_handler, place=places)
    async def purge(self, place: int) -> None:
        """Purge the handler: nothing of it is left anywhere."""
        handler = self.one(place)
        path = f"/handlers/{handler.handler_id}/cancel?purge=true"
        assert await self.world.wants(200, "POST", path) == {"status": "deleted"}
        await self.gone(handler)

    async def gone(self, handler: ModelHandler) -> None:
        """The handler was purged; who waited for its run was told that it was cancelled."""
        handler_id = handler.handler_id
        self.world.counts["purged"] += 1
        del self.world.handlers[handler_id]
        self.world.purged.append((handler_id, handler.run_ids))
        self.world.keys = [keyed for keyed in self.world.keys if keyed.handler_id != handler_id]
        told = await self.world.heard(handler_id)
        assert told is None or (told[0], told[1]["status"]) == (500, "cancelled"), told
        for path in ("handlers", "results", "events"):
            await self.world.wants(404, "GET", f"/{path}/{handler_id}")
        await self.world.wants(404, "GET", f"/events/{handler_id}?after_sequence=0")
        await self.world.wants(404, "POST", f"/events/{handler_id}", event_body("Note", number=1))
        await self.world.wants(404, "POST", f"/handlers/{handler_id}/cancel")
        await self.world.wants(404, "POST", f"/handlers/{handler_id}/cancel?purge=true")
        fields = {"number": 1} if handler.workflow == "totals" else {}
        body = {"handler_id": handler_id, "start_event": fields}
        await self.world.wants(404, "POST", f"/workflows/{handler.workflow}/run-nowait", body)

    async def send(self, handler: ModelHandler, body: Json, keyed: bool | str | None = False) -> None:
        """Send an event, which is acknowledged; ``keyed``: under this key, or under a new one."""
        key = f"key-{self.world.number()}" if keyed is True else keyed or None
        path = f"/events/{handler.handler_id}"
        answer = await self.world.wants(200, "POST", path, body, key)
        assert answer == {"status": "sent"}
        self.world.counts["events sent"] += 1
        if key is not None:
            self.world.keys.append(Keyed(path, body, key, answer, handler.handler_id))


def _other(body: Json) -> Json:
    """A body as valid as this one, and another one."""
    if "event" in body:
        value = {**body["event"]["value"], "number": 999_999, "text": "other", "reason": "other", "gate": "other"}
        return {**body, "event": {**body["event"], "value": value}}
    start = body["start_event"]
    fields = {"number": 1_000} if "number" in start else {"label": "other"}
    return {**body, "start_event": fields}
