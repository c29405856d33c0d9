"""The kinds of damage that can befall a database file, each done to a copy of a specimen."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from workflow_server.errors import DatabaseError
from workflow_server.store.sqlite.exceptions import (
    DatabaseAltered,
    DatabaseDamaged,
    DatabaseForeign,
    DatabaseMissing,
    DatabaseNewer,
    LogDamaged,
    MigrationEdited,
    MigrationMissing,
)

LOG = "-wal"
PAGE = 4_096

Refusals = tuple[type[DatabaseError], ...]


class Damage(NamedTuple):
    """One kind of damage: what it does to the file, and as what it may be refused; without any, it never is."""

    name: str
    clean: bool
    """True if the database was closed cleanly before."""
    do: Callable[[Path, random.Random], None]
    refused_as: Refusals = ()
    always: bool = False
    """True if the file is refused each time."""
    weight: int = 1
    """Number of the variants that are of this kind."""

    @property
    def in_log(self) -> bool:
        """The damage is in the log alone: the database itself is whole, in the state before the damaged part."""
        return "the log" in self.name


def flip_bits(suffix: str, most: int) -> Callable[[Path, random.Random], None]:
    """Flip 1 to ``most`` bits anywhere in the file."""

    def do(path: Path, chance: random.Random) -> None:
        file = Path(f"{path}{suffix}")
        content = bytearray(file.read_bytes())
        for _ in range(chance.randint(1, most)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)

    return do


def flip_header_bit(path: Path, chance: random.Random) -> None:
    """Flip a bit of the first 100 bytes, which say what the file is."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(100)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(suffix: str, *, to_page: bool) -> Callable[[Path, random.Random], None]:
    """Cut the file off, at the end of a page or anywhere."""

    def do(path: Path, chance: random.Random) -> None:
        file = Path(f"{path}{suffix}")
        size = file.stat().st_size
        length = chance.randrange(1, size // PAGE) * PAGE if to_page else chance.randrange(1, size)
        with file.open("r+b") as opened:
            opened.truncate(length)

    return do


def zero_page(suffix: str) -> Callable[[Path, random.Random], None]:
    """Fill a page, or as much of the log, with zeros."""

    def do(path: Path, chance: random.Random) -> None:
        file = Path(f"{path}{suffix}")
        content = bytearray(file.read_bytes())
        start = chance.randrange(len(content) // PAGE) * PAGE
        content[start : start + PAGE] = bytes(PAGE)
        file.write_bytes(content)

    return do


def swap_pages(path: Path, chance: random.Random) -> None:
    """Let two pages trade places, as a disk that writes to the wrong sector does."""
    content = bytearray(path.read_bytes())
    one, other = (place * PAGE for place in chance.sample(range(len(content) // PAGE), 2))
    content[one : one + PAGE], content[other : other + PAGE] = content[other : other + PAGE], content[one : one + PAGE]
    path.write_bytes(content)


def remove_log(path: Path, chance: random.Random) -> None:
    """Lose the log, as a copy of the database file alone does."""
    Path(f"{path}{LOG}").unlink()


def remove_database(path: Path, chance: random.Random) -> None:
    """Lose the database file, and keep its log."""
    path.unlink()


def empty_database(path: Path, chance: random.Random) -> None:
    """Lose what the database file held, and keep its log."""
    path.write_bytes(b"")


def another_application(path: Path, chance: random.Random) -> None:
    """Put another program's database in the file's place."""
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if chance.random() < 0.5:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"PRAGMA application_id = {chance.choice([0, 1, chance.getrandbits(31)]):d}")
        connection.execute("CREATE TABLE handlers (name TEXT)")
        connection.execute("INSERT INTO handlers VALUES ('theirs')")


def no_database(path: Path, chance: random.Random) -> None:
    """Put a file of another kind in the file's place."""
    path.write_bytes(chance.randbytes(chance.randint(1, 3 * PAGE)))


def execute(statement: str) -> Callable[[Path, random.Random], None]:
    """Change the database with SQL; ``{}`` in it becomes a random number from 2 to 1,000."""

    def do(path: Path, chance: random.Random) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement.format(chance.randint(2, 1_000))).fetchall()

    return do


_UNREADABLE: Refusals = (
    DatabaseAltered,
    DatabaseDamaged,
    LogDamaged,
    DatabaseForeign,
    DatabaseNewer,
    MigrationEdited,
    MigrationMissing,
)

KINDS = (
    Damage("bits flipped in the database, after a clean stop", True, flip_bits("", 3), _UNREADABLE, weight=25),
    Damage("bits flipped in the database, after a kill", False, flip_bits("", 3), _UNREADABLE, weight=25),
    Damage("bits flipped in the log", False, flip_bits(LOG, 3), _UNREADABLE, weight=15),
    Damage("a bit flipped in the header", True, flip_header_bit, _UNREADABLE, weight=10),
    Damage("a bit flipped in the header, after a kill", False, flip_header_bit, _UNREADABLE, weight=5),
    Damage(
        "the database cut off at a page, after a clean stop", True, truncate("", to_page=True), _UNREADABLE, weight=8
    ),
    Damage(
        "the database cut off anywhere, after a clean stop", True, truncate("", to_page=False), _UNREADABLE, weight=8
    ),
    Damage("the database cut off, after a kill", False, truncate("", to_page=True), _UNREADABLE, weight=8),
    Damage("the log cut off", False, truncate(LOG, to_page=False), _UNREADABLE, weight=8),
    Damage("a page of zeros, after a clean stop", True, zero_page(""), _UNREADABLE, weight=10),
    Damage("a page of zeros, after a kill", False, zero_page(""), _UNREADABLE, weight=10),
    Damage("a page of zeros in the log", False, zero_page(LOG), _UNREADABLE, weight=5),
    Damage("two pages in each other's place", True, swap_pages, _UNREADABLE, weight=8),
    Damage("the log missing", False, remove_log),
    Damage("the database missing beside its log", False, remove_database, (DatabaseMissing,), always=True),
    Damage("the database empty beside its log", False, empty_database, (DatabaseMissing,), always=True),
    Damage("another program's database", True, another_application, (DatabaseForeign,), always=True, weight=5),
    Damage("a file that is no database", True, no_database, (DatabaseForeign,), always=True, weight=5),
    Damage("a newer schema", True, execute("PRAGMA user_version = {}"), (DatabaseNewer,), always=True, weight=3),
    Damage(
        "a migration of a newer server",
        True,
        execute("INSERT INTO migrations VALUES (1000 + {}, '1002_newer', 'f00d', 0.0)"),
        (DatabaseNewer,),
        always=True,
        weight=3,
    ),
    Damage(
        "an edited migration",
        True,
        execute("UPDATE migrations SET sha256 = replace(sha256, substr(sha256, {} % 64 + 1, 1), 'x')"),
        (MigrationEdited,),
        always=True,
        weight=3,
    ),
    Damage(
        "a gap between its migrations",
        True,
        execute("UPDATE migrations SET number = 1 - {} WHERE number = 1"),
        (MigrationMissing,),
        always=True,
        weight=3,
    ),
    Damage("no record of its migrations", True, execute("DROP TABLE migrations"), (DatabaseDamaged,), always=True),
    Damage("its own row missing", True, execute("DELETE FROM server"), (DatabaseDamaged,), always=True),
)
