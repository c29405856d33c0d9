"""The table of ``docs/interop.md``, made of what was seen."""

from __future__ import annotations

import re

from tests.harness.spawning import ROOT
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
    before = {line.partition(" | ")[0]: f"{line}\n" for line in text.splitlines()}
    rows = [_row(consumer, seen) or before.get(f"| {_name(consumer)}", "") for consumer in CONSUMERS]
    PAGE.write_text(_TABLE.sub(lambda _: _HEAD + "".join(rows), text), encoding="utf-8")


def _name(consumer: Consumer) -> str:
    return f"`{consumer.package}` ({consumer.registry})"


def _row(consumer: Consumer, seen: Seen) -> str | None:
    found = seen.get(consumer)
    if found is None or {"version", "events", "broken"} - set(found):
        return None
    name = _name(consumer)
    form = "SSE" if consumer.sse else "NDJSON"
    return f"| {name} | {found['version']} | {form} | {found['events']} | {found['broken']} | {consumer.note} |\n"
