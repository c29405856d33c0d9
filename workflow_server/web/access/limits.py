"""Limits on clients: wrong tokens by address, and requests by token or address, both in bounded memory."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from workflow_server.web.exceptions import TooManyRequests, TooManyWrongTokens

logger = logging.getLogger(__name__)

WINDOW = 60.0
"""Seconds for which wrong tokens are counted, from the first of them."""
MOST_CLIENTS = 10_000
"""Clients of which something is remembered; beyond that, those that were not heard of for longest are forgotten."""
KNOWN_FOR = 86_400.0
"""Seconds for which it is remembered that a token was right."""
TOLD_EVERY = 10.0
"""Seconds between two records of the log that tokens are refused."""

Clock = Callable[[], float]


@lru_cache(1_024)
def network_of(address: str | None) -> str:
    """Return by what a client is counted: its address, or the /64 of IPv6, which is what one customer gets."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)


@dataclass
class _Wrong:
    """The wrong tokens of one client."""

    until: float
    number: int = 0


class WrongTokens:
    """Counts wrong tokens by client, ``limit`` in ``WINDOW`` seconds.

    After that, tokens that somebody has chosen, and that may be easy to guess, are not tried any more for this client,
    unless it has sent the same one, right, before. Generated tokens cannot be guessed: a right one always passes.
    """

    def __init__(self, limit: int, *, clock: Clock = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._clients: OrderedDict[str, _Wrong] = OrderedDict()
        self._right: OrderedDict[tuple[str, bytes], float] = OrderedDict()
        self._told_at = -TOLD_EVERY

    def __len__(self) -> int:
        return len(self._clients) + len(self._right)

    def is_tried(self, client: str, digest: bytes) -> bool:
        """Return whether a chosen token, which is right, may pass; note that it has."""
        now = self._clock()
        key = client, digest
        if self._seconds_locked(client, now) > 0 and now - self._right.get(key, -math.inf) > KNOWN_FOR:
            return False
        self._right[key] = now
        self._right.move_to_end(key)
        if len(self._right) > MOST_CLIENTS:
            self._right.popitem(last=False)
        return True

    def add(self, client: str) -> None:
        """Count a wrong token.

        Raises:
            TooManyWrongTokens: there were too many before.
        """
        now = self._clock()
        locked = self._seconds_locked(client, now)
        if locked > 0:
            raise TooManyWrongTokens(math.ceil(locked))
        wrong = self._clients.setdefault(client, _Wrong(now + WINDOW))
        wrong.number += 1
        self._clients.move_to_end(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        if wrong.number == self._limit and now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            logger.warning("%d wrong tokens came from %s: further ones are refused", self._limit, client or "a client")

    def refuse(self, client: str) -> None:
        """Refuse a token that is not tried.

        Raises:
            TooManyWrongTokens: always.
        """
        raise TooManyWrongTokens(max(1, math.ceil(self._seconds_locked(client, self._clock()))))

    def _seconds_locked(self, client: str, now: float) -> float:
        """Return for how long no further tokens of the client are tried; 0 where they are."""
        wrong = self._clients.get(client)
        if wrong is None:
            return 0.0
        if now >= wrong.until:
            del self._clients[client]
            return 0.0
        return wrong.until - now if wrong.number >= self._limit else 0.0


class RequestRate:
    """Allows ``rate`` requests a second to each client, and a second's worth of them at once.

    A token bucket, kept as one number: the time at which the bucket will be full again (the "generic cell rate
    algorithm" of ATM).
    """

    def __init__(self, rate: int, *, clock: Clock = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: str) -> None:
        """Count a request.

        Raises:
            TooManyRequests: it is one too many.
        """
        now = self._clock()
        full_at = max(now, self._full_at.get(client, now)) + 1 / self._rate
        if full_at - now > 1 + 1e-9:
            raise TooManyRequests(self._rate, max(1, math.ceil(full_at - now - 1)))
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > MOST_CLIENTS:
            self._full_at.popitem(last=False)
