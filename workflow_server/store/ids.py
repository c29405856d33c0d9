"""Ids of handlers, which clients are given, and of runs.

Ids of runs are in the order of time, so that a store writes the rows of new runs beside each other.
"""

from __future__ import annotations

import secrets
import time

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""In the order in which databases compare texts."""

_RANDOM_BITS = 60
"""As many as an id of ten random letters and digits has: nobody guesses one."""

_LENGTH = 18
"""Digits for these and 42 bits of time, which last until the year 2109."""


def new_run_id() -> str:
    """Return a new id: 18 letters and digits, which sort by the millisecond of the wall clock in which it was made.

    Random ids put the rows of each run onto pages of their own: with a million handlers in the file, a commit of 32
    clients took 1.3 times the CPU.
    """
    return _text(time.time_ns() // 1_000_000 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS), _LENGTH)


def new_handler_id() -> str:
    """Return a new id: ten random letters and digits, as the engine's own ids are, from one random number."""
    return _text(secrets.randbelow(len(_DIGITS) ** 10), 10)


def _text(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
