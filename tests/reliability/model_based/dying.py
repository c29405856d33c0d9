"""Rules by which the server dies: on request, by SIGKILL, and by SIGKILL while a request is not answered yet.

Where no answer came, either outcome is right: the model looks which one it was, and holds the server to it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from hypothesis import strategies as st

from tests.harness.waiting import until_stored
from tests.reliability.model_based.model import Json, ModelHandler
from tests.reliability.model_based.reading import Reading
from tests.reliability.model_based.sending import event_body
from tests.reliability.model_based.session import MOST_HANDLERS, NOTEBOOKS, Session, a_running_one, action, places
from tests.reliability.model_based.starting import Starting
from tests.reliability.model_based.world import Keyed

SPACING = 5
"""Steps for which the server lives at least: a start of it takes as long as thirty others."""

delays = st.integers(0, 80)
"""Times that the server still has for a request, in tenths of a millisecond."""

Answer = tuple[int, Json] | None


def old_enough(session: Session) -> bool:
    """The server has lived long enough to die again."""
    return session.since_death >= SPACING


def a_completed_notebook(session: Session) -> bool:
    """A notebook can be continued."""
    return any(handler.workflow != "totals" for handler in session.ended("completed"))


class Dying(Starting, Reading):
    """Ends the server, and starts it again."""

    @action(old_enough)
    async def restart(self) -> None:
        """A clean stop and a start: the file is looked at in between."""
        await self.world.stop()
        await self._start()
        self.world.counts["clean restarts"] += 1

    @action(old_enough)
    async def kill(self) -> None:
        await self.world.kill()
        await self._start()

    @action(a_running_one, place=places)
    async def wait_for_release(self, place: int) -> None:
        """A run that only waits leaves memory; nobody sees that from outside."""
        idle = [handler for handler in self.running() if handler.holding is None]
        if not idle:
            return
        handler = idle[place % len(idle)]
        await self.world.settle(handler)
        query = "SELECT released FROM handlers WHERE handler_id = ?"
        await until_stored(self.world.server.db, query, handler.handler_id)
        self.world.counts["released"] += 1

    @action(old_enough, workflow=st.sampled_from(NOTEBOOKS), keyed=st.booleans(), delay=delays)
    async def kill_while_starting(self, workflow: str, keyed: bool, delay: int) -> None:
        label = f"label {self.world.number()}"
        body: Json = {"start_event": {"label": label}}
        path, key = f"/workflows/{workflow}/run-nowait", self.new_key() if keyed else None
        answer = await self._die_in(path, body, key, delay)
        new = await self.unknown_handlers()
        assert len(new) <= 1
        assert answer is None or [entry["handler_id"] for entry in new] == [answer[1]["handler_id"]]
        self._note_outcome(answer, bool(new))
        if key is not None:
            again = await self.world.wants(200, "POST", path, body, key)
            assert not new or again["handler_id"] == new[0]["handler_id"]
            assert answer in (None, (200, again))
            await self.adopt(again, workflow, label, Keyed(path, body, key, again, again["handler_id"]))
        elif new:
            await self.adopt(new[0], workflow, label, None)

    @action(old_enough, a_running_one, place=places, keyed=st.booleans(), delay=delays)
    async def kill_while_sending(self, place: int, keyed: bool, delay: int) -> None:
        handler = self.one_running(place)
        number = self.world.number()
        body, key = event_body("Note", number=number), f"key-{self.world.number()}" if keyed else None
        answer = await self._die_in(f"/events/{handler.handler_id}", body, key, delay)
        if key is not None:
            await self.send(handler, body, key)
            handler.note(number)
        else:
            await self._look_for_note(handler, number, answer)
        await self.world.settle(handler)

    async def _look_for_note(self, handler: ModelHandler, number: int, answer: Answer) -> None:
        """Check whether the note arrived: events sent after it are taken after it."""
        await self.world.settle(handler)
        after = len(handler.lines) - 1
        probe = self.world.number()
        await self.send(handler, event_body("Note", number=probe))
        arrived = False
        async with self.world.stream(handler.handler_id, internal=False, sse="false", after_sequence=after) as opened:
            async for line in opened[1]:
                if line["type"] == "Kept":
                    arrived = arrived or line["value"]["number"] == number
                    if line["value"]["number"] == probe:
                        break
        self._note_outcome(answer, arrived)
        if arrived:
            handler.note(number)
        assert arrived or answer is None, f"note {number} was acknowledged, and is lost"
        handler.note(probe)

    @action(old_enough, a_running_one, place=places, purge=st.booleans(), delay=delays)
    async def kill_while_ending(self, place: int, purge: bool, delay: int) -> None:
        """Cancelled or not, purged or not: in between there is only what was cancelled and not yet purged."""
        handler = self.one_running(place)
        await self.world.settle(handler)
        path = f"/handlers/{handler.handler_id}/cancel{'?purge=true' if purge else ''}"
        answer = await self._die_in(path, None, None, delay)
        code, shown = await self.world.call("GET", f"/handlers/{handler.handler_id}")
        assert code in (202, 404 if purge else 500, 500)
        assert answer is None or code == (404 if purge else 500)
        self._note_outcome(answer, code != 202)
        if code == 404:
            await self.gone(handler)
        elif code == 500:
            assert shown["status"] == "cancelled"
            handler.cancel()
        await self.world.settle(handler)

    @action(old_enough, a_running_one, place=places, delay=delays)
    async def kill_while_finishing(self, place: int, delay: int) -> None:
        """Under a key the client comes again until it is told: the run is finished once."""
        handler = self.one_running(place)
        await self.world.settle(handler)
        body, key = event_body("Finish"), f"key-{self.world.number()}"
        answer = await self._die_in(f"/events/{handler.handler_id}", body, key, delay)
        self._note_outcome(answer, None)
        await self.send(handler, body, key)
        handler.finish()
        await self.world.settle(handler)

    @action(old_enough, a_completed_notebook, place=places, keyed=st.booleans(), delay=delays)
    async def kill_while_continuing(self, place: int, keyed: bool, delay: int) -> None:
        completed = [handler for handler in self.ended("completed") if handler.workflow != "totals"]
        handler = completed[place % len(completed)]
        label = f"label {self.world.number()}"
        body: Json = {"start_event": {"label": label}, "handler_id": handler.handler_id}
        path, key = f"/workflows/{handler.workflow}/run-nowait", self.new_key() if keyed else None
        answer = await self._die_in(path, body, key, delay)
        _, shown = await self.world.call("GET", f"/handlers/{handler.handler_id}")
        begun = shown["run_id"] != handler.run_id
        assert begun or answer is None, "the next run was acknowledged, and is lost"
        self._note_outcome(answer, begun)
        if key is not None:
            again = await self.world.wants(200, "POST", path, body, key)
            assert not begun or again["run_id"] == shown["run_id"]
            await self.adopt(again, handler.workflow, label, Keyed(path, body, key, again, handler.handler_id))
        elif begun:
            await self.adopt(shown, handler.workflow, label, None)

    # -- What they share ---------------------------------------------------------------------------

    async def instead(self) -> None:
        """A notebook is opened, or, where there are enough, the log of one is read again."""
        if len(self.world.handlers) < MOST_HANDLERS:
            await self.begin_notebook("notes", keyed=True, envelope=False)
            return
        handler = self.one(self.world.number())
        await self.world.settle(handler)
        await self.world.check_log(handler)

    async def _die_in(self, path: str, body: Json | None, key: str | None, delay: int) -> Answer:
        """Kill the server while a request is under way, and start it again; the answer, if one came."""
        request = asyncio.create_task(self.world.call("POST", path, body, key), name="unanswered request")
        await asyncio.sleep(delay / 10_000)
        await self.world.kill()
        answer: Answer = None
        with suppress(aiohttp.ClientError, ConnectionError):
            answer = await request
            assert answer[0] == 200, answer
        self.world.counts["kills within a request"] += 1
        self.world.counts["requests without an answer"] += answer is None
        await self._start()
        return answer

    def _note_outcome(self, answer: Answer, done: bool | None) -> None:
        """Count what became of requests without an answer: both outcomes must have been met."""
        if answer is None and done is not None:
            self.world.counts["unanswered and done" if done else "unanswered and not done"] += 1

    async def _start(self) -> None:
        await self.world.start()
        self.since_death = 0
