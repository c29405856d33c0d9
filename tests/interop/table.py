"""The table of ``docs/interop.md``, made of what was seen."""

from __future__ import annotations

import re

from tests.conftest import ROOT
from tests.interop.consumers import CONSUMERS, Consumer

PAGE = ROOT / "docs" / "interop.md"
_TABLE = re.compile(r"(?<=<!-- consumers -->\n).*?(?=<!-- /consumers -->)", re.DOTALL)

Seen = dict[Consumer, dict[str, str]]
"""By consumer: its ``version``, when ``events`` came, and what it did with a stream that was ``broken`` off."""

_HEAD = (
    "| consumer | version | reads | events come | a stream that breaks off | what it needs to know |\n"
    "|---|---|---|---|---|---|\n"
)


def write_table(seen: Seen) -> None:
    """Replace the rows of those that were seen."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [row for consumer in CONSUMERS if (row := _row(consumer, seen)) is not None]
    PAGE.write_text(_TABLE.sub(lambda _: _HEAD + "".join(rows), text), encoding="utf-8")


def _row(consumer: Consumer, seen: Seen) -> str | None:
    found = seen.get(consumer)
    if found is None or {"version", "events", "broken"} - set(found):
        return None
    name = f"`{consumer.package}` ({consumer.registry})"
    form = "SSE" if consumer.sse else "NDJSON"
    return f"| {name} | {found['version']} | {form} | {found['events']} | {found['broken']} | {consumer.note} |\n"
