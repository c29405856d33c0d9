"""Runs that fail are retried with mended code: only the failed step runs again, also where the server is killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.harness.managing import Managing
from tests.harness.server_process import DurableServer
from tests.harness.waiting import until
from tests.reliability.reporting import Extent, Survived
from tests.reliability.retrying.failing_anywhere import Place, places, retried_anywhere

STEPS = 200
NUMBERED = """
import asyncio
from pathlib import Path

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

FOLDER = Path(__file__).parent
BROKEN = {broken}


class Numbered(Event):
    number: int


def ran(number):
    with (FOLDER / "ran").open("a") as counted:
        print(number, file=counted, flush=True)


class Long(Workflow):
    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Numbered:
        ran(1)
        await ctx.store.set("sum", 1)
        return Numbered(number=2)

    @step
    async def work(self, ctx: Context, ev: Numbered) -> Numbered | StopEvent:
        ran(ev.number)
        async with ctx.store.edit_state() as state:
            state["sum"] = state["sum"] + ev.number
        if ev.number < {steps}:
            return Numbered(number=ev.number + 1)
        if BROKEN:
            raise ValueError("not mended")
        while not (FOLDER / "gate").exists():
            await asyncio.sleep(0.01)
        return StopEvent(result=await ctx.store.get("sum"))


long = Long(timeout=None)
"""


def write(folder: Path, *, broken: bool) -> None:
    (folder / "target.py").write_text(NUMBERED.format(broken=broken, steps=STEPS))


def ran(folder: Path) -> Counter[int]:
    """The number of times that each step has begun."""
    return Counter(map(int, (folder / "ran").read_text().split()))


async def failed_in_the_last_step(folder: Path, server: DurableServer) -> str:
    """The handler of a run that failed in its last step, on a server that was started again with mended code."""
    handler_id: str = (await server.api.start("long"))["handler_id"]
    handler = await server.api.finished(handler_id)
    assert (handler["status"], handler["error"]) == ("failed", "ValueError: not mended in step work")
    assert ran(folder) == Counter(range(1, STEPS + 1))
    write(folder, broken=False)
    assert await server.stop() == 0
    await server.start()
    return handler_id


@pytest.mark.slow(20)
async def test_of_two_hundred_steps_only_the_failed_one_runs(tmp_path: Path) -> None:
    write(tmp_path, broken=True)
    (tmp_path / "gate").touch()
    async with DurableServer(tmp_path, str(tmp_path / "target.py")) as server:
        handler_id = await failed_in_the_last_step(tmp_path, server)
        begun = await server.api.wants("POST", f"/handlers/{handler_id}/retry")
        assert begun["status"] == "running"
        assert await server.api.result(handler_id) == sum(range(STEPS + 1))
        assert ran(tmp_path) == Counter([*range(1, STEPS + 1), STEPS])


@pytest.mark.slow(40)
async def test_a_retry_that_is_killed_in_the_middle_goes_on(tmp_path: Path, extent: Extent, survived: Survived) -> None:
    write(tmp_path, broken=True)
    kills = extent.of(short=3, long=30)
    # So many deaths in its step are not to put the run in quarantine.
    async with DurableServer(tmp_path, str(tmp_path / "target.py"), "--max-attempts", "100") as server:
        handler_id = await failed_in_the_last_step(tmp_path, server)
        begun = await server.api.wants("POST", f"/handlers/{handler_id}/retry")
        # The first right after the answer: the step may have begun, or not.
        for _ in range(kills):
            before = ran(tmp_path)[STEPS]
            await server.restart()
            await until(lambda: ran(tmp_path)[STEPS] > before, "the failed step did not begin again")  # noqa: B023
            assert server.resumed == 1
        (tmp_path / "gate").touch()
        assert await server.api.result(handler_id) == sum(range(STEPS + 1))
        handler = await server.api.handler(handler_id)
        assert (handler["run_id"], handler["started_at"]) == (begun["run_id"], begun["started_at"])
        counted = ran(tmp_path)
        assert counted.pop(STEPS) >= kills
        assert counted == Counter(range(1, STEPS))
    survived(
        "killed in the middle of the retry of a run of 200 steps that had failed in the last one",
        "P1 P3 P6 P8",
        times=kills,
        unit="kills",
        figures="one step ran again each time",
    )


@pytest.mark.slow(30)
async def test_a_retry_ends_as_a_run_that_never_failed(
    managing: Managing, monkeypatch: pytest.MonkeyPatch, extent: Extent, survived: Survived
) -> None:
    trials = extent.of(short=40, long=300)
    failed: list[Place] = []
    for trial in range(trials):
        failed += await retried_anywhere(managing, monkeypatch, extent.seed * 10_000 + trial)
    kinds = Counter(place.kind for place in failed)
    assert set(kinds) == set(places()), "a kind of step never failed"
    survived(
        "steps that fail at random places, mended and retried, or begun again from an earlier step",
        "P3 P6 P12",
        times=len(failed),
        unit="failures",
        figures=f"{trials} workflows, each with the result of one that never failed; "
        + ", ".join(f"{times} in {kind}" for kind, times in sorted(kinds.items())),
    )
