"""Ids of handlers, which clients are given, and of runs.

Ids of runs are in the order of time, so that a store writes the rows of new runs beside each other.
"""

from __future__ import annotations

import os
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
    return _text(time.time_ns() // 1_000_000 << _RANDOM_BITS | _random() >> 64 - _RANDOM_BITS, _LENGTH)


def new_handler_id() -> str:
    """Return a new id: ten random letters and digits, as the engine's own ids are, from one random number."""
    while True:
        number = _random() >> 64 - _RANDOM_BITS
        # The numbers beyond it would make some ids more likely than others.
        if number < _HANDLER_IDS:
            return _text(number, 10)


_HANDLER_IDS = len(_DIGITS) ** 10
_AT_ONCE = 64

_drawn: list[int] = []
"""Random numbers of the system that nobody has used yet: to ask it for one takes as long as the rest of an id."""

# A forked child would use the same ones.
os.register_at_fork(after_in_child=_drawn.clear)


def _random() -> int:
    """Return 64 random bits."""
    try:
        return _drawn.pop()
    except IndexError:
        _drawn.extend(memoryview(os.urandom(8 * _AT_ONCE)).cast("Q"))
        return _drawn.pop()


_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]


def _text(number: int, length: int) -> str:
    """Return a number in digits; the ``length`` is even."""
    pairs = []
    for _ in range(length // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))
