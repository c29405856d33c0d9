"""Ages as people type them."""

from __future__ import annotations

import re

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
"""Units of an age."""
AN_AGE = "a number with a unit, as in 30d, 12h, 90m, 45s or 2w"


def seconds_of(age: str) -> float | None:
    """Return the seconds of an age like ``30d``; None where the text is not one."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", age, re.ASCII)
    return None if found is None else float(int(found[1]) * SECONDS[found[2]])
