"""Posted events that come before a step waits for them: kept, given to the wait that they are for, or told as lost."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import ended, in_memory, released
from tests.harness.waiting import until_seen
from tests.store.fault_injection import BEGIN, Hook, HookedStore
from workflow_server.execution import writer
from workflow_server.execution.mailbox import Mailbox
from workflow_server.protocol.handlers import IdempotencyKey, RunRequest
from workflow_server.runs.manager import RuntimeManager


class Approval(HumanResponseEvent):
    by: str = ""


class Go(HumanResponseEvent):
    """Lets the next step go on."""


class Item(Event):
    n: int = 0
    text: str = ""
    last: bool = False


class Begun(Event):
    """A step has come to the point at which the test goes on."""


class Next(Event):
    number: int


class Asks(Workflow):
    """Asks one question after the other, with these requirements, and waits for ``Go`` before each."""

    def __init__(self, *questions: dict[str, Any]) -> None:
        super().__init__(timeout=None)
        self.questions = questions or ({},)

    @step
    async def begin(self, ev: StartEvent) -> Next:
        return Next(number=0)

    @step
    async def ask(self, ctx: Context, ev: Next) -> Next | StopEvent:
        await ctx.wait_for_event(Go, Begun(), "go", {"response": str(ev.number)}, timeout=None)
        required = self.questions[ev.number]
        found = await ctx.wait_for_event(Approval, Begun(), "question", required, timeout=None)
        async with ctx.store.edit_state() as state:
            answers = state["answers"] = [*state.get("answers", []), found.by]
        return StopEvent(result=answers) if ev.number + 1 == len(self.questions) else Next(number=ev.number + 1)


class AsksAnything(Workflow):
    """Waits for a base class in a step that takes subclasses."""

    @step(accept_event_subclasses=True)
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Go, Begun(), "go", timeout=None)
        found = await ctx.wait_for_event(HumanResponseEvent, Begun(), "question", timeout=None)
        return StopEvent(result=type(found).__name__)


def approval(by: str) -> dict[str, Any]:
    return {"type": "Approval", "value": {"by": by}}


async def begun(manager: RuntimeManager, handler_id: str, number: int) -> None:
    """Return when the run has told so often that it waits."""
    reader = await manager.open_cursor(handler_id, -1)
    assert reader is not None
    while number > 0:
        page = await reader.next_page(20)
        assert page
        number -= sum('"Begun"' in event.data for event in page)


async def held(manager: RuntimeManager, handler_id: str, number: int) -> None:
    """Return when the handler shows that it holds so many events."""

    async def are_held() -> bool:
        return (await manager.get_handler(handler_id)).held_events == number

    await until_seen(are_held, f"{number} events are not held")


class Play:
    """A run, and the client that posts to it. Before each act its server is stopped and another one takes the run up,
    or the run leaves memory, or neither."""

    def __init__(self, managing: Managing, how: str, workflow: Callable[[], Workflow]) -> None:
        self._managing = managing
        self._how = how
        self._workflow = workflow
        self._stack = AsyncExitStack()
        self.manager: RuntimeManager
        self.handler_id = ""

    async def __aenter__(self) -> Play:
        await self._open()
        self.handler_id = (await self.manager.start("sample", RunRequest())).handler_id
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        idle = 0.0 if self._how == "released" else None
        managing = self._managing(idle_timeout=idle, grace=0.0, additional=[Approval, Go], sample=self._workflow())
        self.manager = await self._stack.enter_async_context(managing)

    async def next_act(self) -> None:
        if self._how == "released":
            await released(self.manager, self.handler_id)
        elif self._how != "in memory":
            await self._stack.aclose()
            await self._open()

    async def post(self, by: str, *, hold: bool = False) -> None:
        await self.next_act()
        await self.manager.send(self.handler_id, approval(by), None, None, hold=hold)

    async def go(self, number: int) -> None:
        """Let the run ask its next question; returns when it has."""
        await begun(self.manager, self.handler_id, 2 * number + 1)
        await self.next_act()
        event = {"type": "Go", "value": {"response": str(number)}}
        await self.manager.send(self.handler_id, event, None, None)
        await begun(self.manager, self.handler_id, 2 * number + 2)

    async def shows(self, number: int) -> None:
        """Return when the handler shows that it holds so many events."""
        await self.next_act()
        await held(self.manager, self.handler_id, number)

    async def lost(self, number: int) -> None:
        """Return when so many events were told as taken by nobody."""

        async def are_told() -> bool:
            return len(await self._lost()) >= number

        await until_seen(are_told, f"{number} events are not told as taken by nobody")

    async def _lost(self) -> list[str]:
        log = await self.manager.store.read_events(self.handler_id, -1, 10_000)
        found = [event for event in log if '"UnhandledEvent"' in event.data]
        assert not any(event.internal for event in found), "who posted them sees what became of them"
        return [json.loads(event.data)["value"]["event_type"] for event in found]

    async def end(self) -> tuple[object, list[str]]:
        """The result, and the types of the events that nobody took."""
        handler, last = await ended(self.manager, self.handler_id)
        log = await self.manager.store.read_events(self.handler_id, -1, 10_000)
        assert log[-1].data == last
        assert json.loads(last)["type"] == "StopEvent", "the terminal event stays the last"
        assert handler.held_events == 0
        assert handler.result is not None
        return handler.result.value["result"], await self._lost()


HOW = pytest.mark.parametrize("how", ["in memory", "released", "restarted", "snapshots"])


@pytest.fixture(autouse=True)
def _snapshots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("how") == "snapshots":
        monkeypatch.setattr(writer, "SNAPSHOT_TICKS", 1)


@HOW
async def test_an_early_answer_is_kept_and_a_second_click_is_told(managing: Managing, how: str) -> None:
    async with Play(managing, how, lambda: Asks({}, {})) as play:
        await begun(play.manager, play.handler_id, 1)
        await play.post("ada")
        await play.post("a second click")
        await play.shows(2)
        await play.go(0)
        await play.lost(1)
        await play.shows(0)
        await play.go(1)
        await play.post("bob")
        assert await play.end() == (["ada", "bob"], ["Approval"])


@HOW
async def test_after_a_wait_began_only_held_events_are_kept_for_the_next(managing: Managing, how: str) -> None:
    async with Play(managing, how, lambda: Asks({}, {}, {})) as play:
        await begun(play.manager, play.handler_id, 1)
        await play.go(0)
        await play.post("ada")
        await begun(play.manager, play.handler_id, 3)
        await play.post("too late for the first, too early for the second")
        await play.lost(1)
        await play.post("bob", hold=True)
        await play.post("cleo", hold=True)
        await play.shows(2)
        await play.go(1)
        await begun(play.manager, play.handler_id, 5)
        await play.shows(1)
        await play.go(2)
        assert await play.end() == (["ada", "bob", "cleo"], ["Approval"])


@HOW
async def test_what_a_wait_does_not_require_is_kept_for_one_that_does(managing: Managing, how: str) -> None:
    async with Play(managing, how, lambda: Asks({"by": "ada"}, {}, {"by": "cleo"})) as play:
        await begun(play.manager, play.handler_id, 1)
        for by in ("cleo", "dora", "ada"):
            await play.post(by)
        await play.shows(3)
        await play.go(0)
        await begun(play.manager, play.handler_id, 3)
        await play.shows(2)
        await play.go(1)
        await play.shows(2)
        await play.post("bob")
        await begun(play.manager, play.handler_id, 5)
        await play.go(2)
        assert await play.end() == (["ada", "bob", "cleo"], ["Approval"])


@HOW
async def test_a_wait_for_a_base_class_takes_what_the_engine_lets_it_take(managing: Managing, how: str) -> None:
    async with Play(managing, how, AsksAnything) as play:
        await begun(play.manager, play.handler_id, 1)
        await play.post("ada")
        await play.shows(1)
        await play.go(0)
        assert await play.end() == ("Approval", [])


@pytest.mark.parametrize("away", [False, True])
async def test_a_cancelled_run_tells_of_what_it_held(managing: Managing, *, away: bool) -> None:
    async with Play(managing, "released" if away else "in memory", Asks) as play:
        await begun(play.manager, play.handler_id, 1)
        await play.post("ada")
        await play.shows(1)
        await play.next_act()
        await play.manager.cancel(play.handler_id)
        handler, last = await ended(play.manager, play.handler_id)
        assert (handler.status, json.loads(last)["type"], handler.held_events) == (
            "cancelled",
            "WorkflowCancelledEvent",
            0,
        )
        assert await play._lost() == ["Approval"]


async def test_a_run_that_holds_events_is_not_taken_up_at_start_for_them(managing: Managing) -> None:
    async with Play(managing, "released", Asks) as play:
        await begun(play.manager, play.handler_id, 1)
        await play.post("ada")
        await play.shows(1)
        handler_id = play.handler_id
    async with managing(idle_timeout=None, sample=Asks()) as manager:
        assert not in_memory(manager, handler_id)
        assert (await manager.get_handler(handler_id)).held_events == 1


async def test_a_held_event_does_not_keep_a_wait_from_timing_out(managing: Managing) -> None:
    class Hasty(Workflow):
        @step
        async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
            try:
                await ctx.wait_for_event(Go, Begun(), timeout=0.3)
            except TimeoutError:
                return StopEvent(result="timed out")
            return StopEvent(result="answered")

    async with Play(managing, "in memory", Hasty) as play:
        await begun(play.manager, play.handler_id, 1)
        await play.post("nobody waits for this")
        assert await play.end() == ("timed out", ["Approval"])


async def test_a_held_event_survives_a_kill_at_any_commit_and_comes_once(tmp_path: Path) -> None:
    copies: list[Path] = []

    def copy(moment: str, records: object) -> None:
        if moment == "after commit":
            copies.append(tmp_path / f"copy-{len(copies)}.sqlite3")
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{live}{suffix}", f"{copies[-1]}{suffix}")

    async def serve(path: Path, hook: Hook | None = None) -> object:
        store = HookedStore(path)
        manager = RuntimeManager(store, idle_timeout=None)
        manager.add_workflow("sample", Asks({"by": "ada"}), [Approval, Go])
        manager.listen()
        await store.open()
        store.hook = hook
        await manager.resume()
        try:
            handler_id = (await manager.start("sample", RunRequest(key=IdempotencyKey("run", "")))).handler_id
            for number, by in enumerate(("bob", "ada")):
                await manager.send(handler_id, approval(by), None, IdempotencyKey(f"post {number}", ""))
            await manager.send(
                handler_id, {"type": "Go", "value": {"response": "0"}}, None, IdempotencyKey("go", "")
            ) if (await manager.get_handler(handler_id)).status == "running" else None
            handler, _ = await ended(manager, handler_id)
            log = await store.read_events(handler_id, -1, 1_000)
            return handler.result and handler.result.value["result"], sum(
                '"UnhandledEvent"' in event.data for event in log
            )
        finally:
            await manager.stop(0.0)
            await store.close()

    live = tmp_path / "live.sqlite3"
    assert await serve(live, copy) == (["ada"], 1)
    assert len(copies) > 5
    for path in copies:
        assert await serve(path) == (["ada"], 1), path


async def test_what_is_given_to_a_wait_stays_given_where_the_process_dies(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Play(managing, "restarted", Asks) as play:
        await begun(play.manager, play.handler_id, 1)
        await play.post("ada")
        await play.shows(1)
        with monkeypatch.context() as dying:
            # The wait begins, and the process dies before the run takes the answer.
            dying.setattr(Mailbox, "put_first", lambda *_: None)
            await play.go(0)
            await play.next_act()
        assert await play.end() == (["ada"], [])


@pytest.mark.parametrize("fails", [False, True])
async def test_no_step_begins_where_an_earlier_one_has_ended_the_run(managing: Managing, *, fails: bool) -> None:
    """Also where they share a commit, for the one before is known not to wait."""
    began: list[str] = []

    class Ending(Workflow):
        @step
        async def send(self, ctx: Context, ev: StartEvent) -> Item | Next | None:
            for sent in (Item(n=1), Item(n=2), Next(number=3)):
                ctx.send_event(sent)
            return None

        @step
        async def quick(self, ev: Item) -> StopEvent | None:
            if ev.n == 1:
                return None
            if fails:
                raise ValueError("at once")
            return StopEvent()

        @step
        async def late(self, ev: Next) -> None:
            began.append("late")

    store = HookedStore(":memory:")
    async with managing(store=store, sample=Ending()) as manager:
        store.hook = lambda moment, _: time.sleep(0.02) if moment == BEGIN else None
        # The first run shows that ``quick`` does not wait: from then on what comes behind it shares its commit.
        for _ in range(3):
            handler_id = (await manager.start("sample", RunRequest())).handler_id
            handler, _ = await ended(manager, handler_id)
            assert handler.status == ("failed" if fails else "completed")
    assert not began


async def test_a_fan_out_shares_its_commits(managing: Managing) -> None:
    class FanOut(Workflow):
        @step
        async def send(self, ctx: Context, ev: StartEvent) -> Item | None:
            for n in range(200):
                ctx.send_event(Item(n=n))
            return None

        @step(num_workers=200)
        async def work(self, ctx: Context, ev: Item) -> StopEvent | None:
            async with ctx.store.edit_state() as state:
                state["done"] = state.get("done", 0) + 1
                return StopEvent(result=200) if state["done"] == 200 else None

    store = HookedStore(":memory:")
    async with managing(store=store, sample=FanOut()) as manager:
        # As long as on a slow disk: what is sent meanwhile is to share one commit.
        store.hook = lambda moment, _: time.sleep(0.1) if moment == BEGIN else None
        before = store.committed.transactions
        handler_id = (await manager.start("sample", RunRequest())).handler_id
        handler, _ = await ended(manager, handler_id)
        assert handler.status == "completed", handler.error
        assert store.committed.transactions - before < 50
