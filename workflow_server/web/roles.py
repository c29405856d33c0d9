"""Roles: how much a token may do. Each may do all that those before it may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Role = Literal["read", "run", "full"]
"""``read``: GET and HEAD, but nothing that takes events from others; ``run``: start, send and cancel, too; ``full``:
everything, such as deleting and actions on many handlers."""

ROLES: tuple[Role, ...] = get_args(Role)


def includes(role: Role, needed: Role) -> bool:
    """Return whether ``role`` may do what needs ``needed``."""
    return ROLES.index(role) >= ROLES.index(needed)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that the server knows, by its hash."""

    name: str
    """Shown in logs; not secret."""
    role: Role
    digest: bytes
    """SHA-256 of the token."""
    created: datetime | None = None
    expires: datetime | None = None
    is_generated: bool = True
    """False for a token that somebody has chosen, and that may be easy to guess."""

    def has_expired(self, now: float) -> bool:
        """Return whether it is not valid any more at ``now``, seconds since the epoch."""
        return self.expires is not None and now >= self.expires.timestamp()
