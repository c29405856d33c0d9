"""Resources: made by functions, from files, of each other, once or for each step."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent
from workflows.resource import Resource, ResourceConfig

from .sample import Part, Sample, begin

CONFIG = str(Path(__file__).parent / "prices.json")


class Prices(BaseModel):
    apple: int


class Counter:
    """Counts who uses it; made anew by each process."""

    def __init__(self) -> None:
        self.used = itertools.count()


def counter() -> Counter:
    return Counter()


def own_counter() -> Counter:
    return Counter()


async def doubled(prices: Annotated[Prices, ResourceConfig(CONFIG, "fruit")]) -> int:
    return prices.apple * 2


def lookup() -> dict[str, int]:
    return {"answer": 42}


class Resourced(Workflow):
    """A step with resources: plain, from a file, and made of another one by a coroutine."""

    @step
    async def only(
        self,
        ev: StartEvent,
        table: Annotated[dict[str, int], Resource(lookup)],
        prices: Annotated[Prices, ResourceConfig(CONFIG, "fruit")],
        twice: Annotated[int, Resource(doubled)],
    ) -> StopEvent:
        begin("only")
        return StopEvent(result=[table["answer"], prices.apple, twice])


class Kept(Workflow):
    """A cached resource is one for all steps; another one is made for each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    @step
    async def first(
        self,
        ev: StartEvent,
        one: Annotated[Counter, Resource(counter)],
        own: Annotated[Counter, Resource(own_counter, cache=False)],
    ) -> Part:
        begin("first")
        self.seen += [one, own]
        return Part(n=1)

    @step
    async def second(
        self,
        ev: Part,
        one: Annotated[Counter, Resource(counter)],
        own: Annotated[Counter, Resource(own_counter, cache=False)],
    ) -> StopEvent:
        begin("second")
        if self.seen:  # by this process
            assert self.seen[0] is one
            assert self.seen[1] is not own
        return StopEvent(result=one is not own)


SAMPLES = {
    "resources": Sample(Resourced, [42, 3, 6]),
    "kept_resources": Sample(Kept, True),
}
