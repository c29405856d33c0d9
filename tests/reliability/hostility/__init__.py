"""Requests that no honest client sends, as bytes: small tables, multiplied, and mutations of honest requests by chance.

``@-WAITING-`` and ``@--ENDED--`` stand for a handler that waits for a human and one that has ended.
"""

from __future__ import annotations

import random

from tests.reliability.hostility.bodies import bodies
from tests.reliability.hostility.chance import mutated
from tests.reliability.hostility.framing import framing
from tests.reliability.hostility.headers import headers
from tests.reliability.hostility.parameters import parameters
from tests.reliability.hostility.request import SECRET, Hostile, request
from tests.reliability.hostility.targets import targets

__all__ = ["SECRET", "Hostile", "corpus", "request"]


def corpus(seed: int, mutations: int) -> list[Hostile]:
    """The tables, and so many mutations, in an order that the seed decides."""
    chance = random.Random(seed)
    requests = [*targets(), *parameters(), *headers(), *framing(), *bodies(), *mutated(mutations, chance)]
    chance.shuffle(requests)
    return requests
