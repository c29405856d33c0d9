"""The reader pool: a few read-only connections, each of which serves one whole read at a time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiosqlite

from workflow_server.errors import StoreClosed, StoreUnavailable
from workflow_server.store.sqlite.connection import connect, run_on
from workflow_server.store.sqlite.transaction import describe

T = TypeVar("T")

READERS = 3


class ReaderPool:
    """Connections for reads, which see only what is committed.

    A read leaves no cursor open: that would let the log grow.
    """

    def __init__(self, connections: list[aiosqlite.Connection], *, owned: bool) -> None:
        self._connections = connections
        self._owned = owned
        self._closed = False
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        for connection in connections:
            self._free.put_nowait(connection)

    @classmethod
    async def open(cls, path: Path) -> ReaderPool:
        """Open connections of the pool's own to the file at ``path``."""
        connections: list[aiosqlite.Connection] = []
        try:
            for _ in range(READERS):
                connection = await connect(path)
                connections.append(connection)
                await connection.execute_fetchall("PRAGMA query_only = ON")
        except BaseException:
            await cls(connections, owned=True).close()
            raise
        return cls(connections, owned=True)

    @classmethod
    def sharing(cls, connection: aiosqlite.Connection) -> ReaderPool:
        """Share the one connection of a database in memory: its thread runs whole functions, so reads fall between
        commits."""
        return cls([connection], owned=False)

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``function`` on a free connection.

        Raises:
            StoreClosed, StoreUnavailable: nothing was read.
        """
        if self._closed:
            raise StoreClosed
        connection = await self._free.get()
        try:
            return await run_on(connection, function)
        except sqlite3.Error as error:
            raise StoreUnavailable(reason=describe(error)) from error
        except ValueError as error:
            # aiosqlite raises it where the connection was closed in the meantime.
            if self._closed:
                raise StoreClosed from error
            raise
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        self._closed = True
        if self._owned:
            for connection in self._connections:
                await connection.close()
