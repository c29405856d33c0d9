"""A workflow that puts hostile text wherever a run can have text: the page may show it, and do nothing that it says."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from workflows import Context, Workflow, step
from workflows.events import Event, InputRequiredEvent, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate

MARKUP = (
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "\"><svg/onload=document.title='owned'>",
    "</textarea></pre></script><h1>owned</h1>",
    "{{constructor.constructor('document.title = `owned`')()}}${7*7}",
    "<a href=\"javascript:document.title='owned'\">press me</a>",
    "<style>* { display: none }</style><meta http-equiv=refresh content='0;url=https://example.org/'>",
)
"""Texts that would give the page another title, name, look or address."""
LINKS = ("javascript:document.title='owned'", "[link](javascript:document.title='owned')", "data:text/html,<h1>owned")
REORDERED = "invoice\u202efdp.exe\u202c \u2066\u2067isolated\u2069"
"""A text that reads in another order than it has."""
CONTROLS = "".join(map(chr, (*range(1, 32), 127, *range(128, 160)))) + "\u2028\u2029\ufeff\u200b\x1b[31mred\x1b[0m"
"""All control characters but NUL, separators of lines, and escapes of terminals."""
ODD = (
    "e\u0301" * 5 + "\u0335" * 200,
    "\U0001f469\u200d\U0001f4bb",
    "\ufffe\uffff",
    "__proto__",
    "constructor",
    "𝕏" * 50,
)
TEXTS = (*MARKUP, *LINKS, REORDERED, CONTROLS, *ODD)
TAGS = tuple(text[:100].strip() for text in (*MARKUP, *LINKS[:2]))
"""Tags that a start may have."""
LONG = "long " * 1_000_000
"""A text of five megabytes."""
UNBROKEN = "x" * 20_000
"""A text with no place to break a line."""
DEPTH = 140
"""Levels of the object in the result, of which one that is much deeper is refused; an event may have any."""


def deep(depth: int = DEPTH) -> dict[str, Any]:
    """Return an object of so many levels."""
    value: dict[str, Any] = {"bottom": MARKUP[0]}
    for level in range(depth):
        value = {f"level {depth - level}": value}
    return value


class Attack(StartEvent):
    """The end of the run <b>and</b> its text; "javascript:alert(1)"."""

    end: Literal["complete", "fail", "wait", "hold"] = Field("complete", description="<img src=x onerror=alert(1)>")
    text: str = Field(MARKUP[0], title="</label><script>alert(1)</script>", examples=list(MARKUP))
    big: bool = False


class Told(Event):
    """Hostile text in an event."""

    texts: list[str] = Field([])
    by_name: dict[str, Any] = Field({})
    text: str = ""
    nested: Any = None


class Asked(InputRequiredEvent):
    """Hostile text in a question."""

    question: str
    texts: list[str]


class Answered(Event):
    """The answer, which has to have the hostile text of the question."""

    question: str
    answer: str = ""


class Hostile(Workflow):
    """Publish, keep, ask, return and raise hostile text."""

    @step
    async def attack(self, ctx: Context, ev: Attack) -> StopEvent:
        """Do all of it, but what takes megabytes where it is not asked for."""
        text = ev.text
        if ev.end == "wait":
            asked = Asked(question=text, texts=list(TEXTS))
            await ctx.wait_for_event(Answered, waiter_event=asked, requirements={"question": text}, timeout=3600)
        await ctx.store.set("texts", list(TEXTS))
        await ctx.store.set("by_text", {key: key for key in TEXTS})
        for each in (Told(texts=list(TEXTS)), Told(by_name={key: key for key in TEXTS}), Told(text=UNBROKEN)):
            ctx.write_event_to_stream(each)
        ctx.write_event_to_stream(Told(nested=deep(200)))
        if ev.big:
            ctx.write_event_to_stream(Told(text=LONG))
        if ev.end == "hold":
            await gate("hostile")
        if ev.end == "fail":
            raise ValueError("\n".join(TEXTS))
        return StopEvent(result={"texts": list(TEXTS), "deep": deep(), "long": LONG if ev.big else UNBROKEN})


hostile = Hostile(timeout=None)
