"""The interface between group commit and a database.

``group_commit`` decides what is committed together, in which order, when it is tried again and who is told. A backend
knows one database: how a batch is written there, what a failure means, and where room can be found.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from workflow_server.errors import CommitUnknown, StorageError, StoreUnavailable
from workflow_server.store.internal_records import Entries

Refusals = Mapping[int, str]
"""Reasons why units can never be stored, by their place in the batch."""


class FailureKind(enum.Enum):
    """The consequence of a failed transaction for its units."""

    FULL = "nothing was stored, for want of room"
    UNAVAILABLE = "nothing was stored, and a later try may succeed"
    REFUSED = "nothing was stored, because of a value that can never be stored"
    BROKEN = "nothing was stored, and nothing can be any more"
    UNKNOWN = "whether it was stored is not known"


class TransactionError(Exception):
    """A transaction failed: ``kind`` says what that means, ``reason`` says why, ``__cause__`` is the database's error.

    Where it is not certain that nothing was stored, the kind is UNKNOWN: a second try could store a batch twice.
    """

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason

    def storage_error(self) -> StorageError:
        """Return the error for those who wait."""
        if self.kind is FailureKind.UNKNOWN:
            return CommitUnknown(reason=self.reason)
        return StoreUnavailable(reason=self.reason)


class Backend(ABC):
    """The writing side of one open database. Group commit is its only caller, and makes one call at a time."""

    @abstractmethod
    async def commit(self, units: Sequence[Entries]) -> Refusals:
        """Store all units, in order, in one transaction; return when it is durable.

        A unit that can never be stored is left out, as a whole, and returned with its reason; the others are stored.

        Raises:
            TransactionError: the transaction failed, with any kind of failure.
            StoreGone: it was committed to a database that the next start will not find.
        """

    @abstractmethod
    async def commit_urgent(self, units: Sequence[Entries]) -> Refusals:
        """Store units though ``commit`` found no room: make room first, with what was kept back for this.

        Raises:
            TransactionError, StoreGone: as ``commit``; FULL where there is no room for these either.
        """

    @abstractmethod
    async def maintain(self) -> None:
        """Do what the database needs from time to time, such as a checkpoint. Called after each batch: often cheap.

        Raises:
            TransactionError: it failed so that the database cannot be trusted any more.
        """

    async def give_space_back(self) -> bool:
        """Make the database smaller by a small part of the room in it that holds nothing, in a transaction of its own;
        return False where that is not possible, at present or at all.

        Raises:
            TransactionError: it failed so that the database cannot be trusted any more.
            StoreGone: as ``commit``.
        """
        return False

    @abstractmethod
    async def erase_deleted(self) -> bool:
        """Erase what was deleted before from wherever else the database keeps it, such as its log; return False where
        that is not possible at present.

        Raises:
            TransactionError: it failed so that the database cannot be trusted any more.
        """
