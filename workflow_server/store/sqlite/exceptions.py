"""The reasons for which a database is not opened or a command on it fails, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_server.errors import DatabaseError, MaintenanceError


@dataclass(eq=False)
class DatabaseLocked(DatabaseError):
    """Raised for a database that another process serves."""

    path: str
    holder: str

    def __str__(self) -> str:
        return f"Another server ({self.holder}) holds '{self.path}'. Stop it, or use another --db."


@dataclass(eq=False)
class DatabaseForeign(DatabaseError):
    """Raised for a file that is not a database of this program."""

    path: str
    found: str

    def __str__(self) -> str:
        return (
            f"'{self.path}' is not a workflow_server database ({self.found}). It was left unchanged: use another --db."
        )


@dataclass(eq=False)
class DatabaseMissing(DatabaseError):
    """Raised for a write-ahead log without its database."""

    path: str
    log: str

    def __str__(self) -> str:
        return (
            f"'{self.path}' is missing or empty, but its write-ahead log '{self.log}' is there and holds the latest "
            "commits. Put the database back beside it; or move the log away to start with an empty database."
        )


@dataclass(eq=False)
class LogLeftBehind(DatabaseError):
    """Raised for a database without a log beside the log of one that was moved away while it was served."""

    path: str
    left: str
    log: str

    def __str__(self) -> str:
        return (
            f"'{self.path}' has no write-ahead log, but '{self.left}' is there: the log of a database that was moved "
            f"away while it was served. If this is that database, rename '{self.left}' to '{self.log}'; if this is a "
            f"backup, move '{self.left}' away."
        )


@dataclass(eq=False)
class DatabaseNewer(DatabaseError):
    """Raised for a database with migrations that this version does not have."""

    path: str
    found: int
    known: int

    def __str__(self) -> str:
        return (
            f"'{self.path}' was written by a newer workflow_server (schema {self.found}, this one knows up to "
            f"{self.known}). It was left unchanged: update workflow_server."
        )


@dataclass(eq=False)
class DatabaseReadOnly(DatabaseError):
    """Raised for a database that cannot be written."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.path}' cannot be written: {self.reason}. Change its permissions, or use another --db."


@dataclass(eq=False)
class DatabaseFull(DatabaseError):
    """Raised for a disk without room for a start."""

    path: str

    def __str__(self) -> str:
        return f"The disk of '{self.path}' is full. Free some space, and start again."


@dataclass(eq=False)
class DiskFailed(DatabaseError):
    """Raised for a disk that does not read or write."""

    path: str
    reason: str

    def __str__(self) -> str:
        return (
            f"The disk of '{self.path}' cannot be read or written: {self.reason}. Check the system's log for it, and "
            "start again; what was acknowledged is kept as far as the disk kept it."
        )


@dataclass(eq=False)
class DatabaseLinked(DatabaseError):
    """Raised for a file with several names: the lock and the log go by the name."""

    path: str
    names: int

    def __str__(self) -> str:
        return (
            f"'{self.path}' is one of {self.names} hard links to the same file, and a server that opens it under "
            "another name would damage it. Remove the others, or give this server a copy."
        )


@dataclass(eq=False)
class FileBesideLinked(DatabaseError):
    """Raised for a link in the place of a file that the server writes."""

    file: str
    found: str

    def __str__(self) -> str:
        return (
            f"'{self.file}' is {self.found}. The server writes to that file and would change another one: remove it, "
            "and start again."
        )


@dataclass(eq=False)
class DatabaseAltered(DatabaseError):
    """Raised for triggers, indexes and constraints that no migration has made."""

    path: str
    what: str

    def __str__(self) -> str:
        return (
            f"'{self.path}' has what this server did not make: {self.what}. It would run with, or decide about, "
            "everything that is stored. It was left unchanged: drop it with the sqlite3 tool if you know it, or use "
            "another --db."
        )


@dataclass(eq=False)
class FolderMissing(DatabaseError):
    """Raised for a database in a folder that does not exist."""

    folder: str

    def __str__(self) -> str:
        return f"The folder '{self.folder}' of the database does not exist. Create it, or use another --db."


@dataclass(eq=False)
class DatabaseDamaged(DatabaseError):
    """Raised for a database that does not pass the checks of a start."""

    path: str
    problem: str

    def __str__(self) -> str:
        return (
            f"'{self.path}' is damaged: {self.problem}. Restore a backup, or recover what is left with the sqlite3 "
            "tool's .recover."
        )


@dataclass(eq=False)
class LogDamaged(DatabaseError):
    """Raised for a write-ahead log that has commits behind a damaged one."""

    path: str
    commits: int

    def __str__(self) -> str:
        return (
            f"The write-ahead log of '{self.path}' is damaged: {self.commits} or more commits behind the damage cannot "
            "be read. Restore a backup; or give them up: 'PRAGMA wal_checkpoint(TRUNCATE)' in the sqlite3 tool drops "
            "them."
        )


@dataclass(eq=False)
class NetworkFilesystem(DatabaseError):
    """Raised for a database on a network file system that was not allowed."""

    path: str
    kind: str

    def __str__(self) -> str:
        return (
            f"'{self.path}' is on a network file system ({self.kind}), where SQLite's locks are not reliable. Use a "
            "local disk, or start with --allow-network-filesystem at your own risk."
        )


@dataclass(eq=False)
class MigrationEdited(DatabaseError):
    """Raised for a migration that was changed after this database was migrated with it."""

    path: str
    name: str

    def __str__(self) -> str:
        return (
            f"Migration {self.name} is not the one that '{self.path}' was migrated with. Install the workflow_server "
            "that made it."
        )


@dataclass(eq=False)
class MigrationMissing(DatabaseError):
    """Raised for a gap in the migrations, of the database or of this installation."""

    path: str
    number: int

    def __str__(self) -> str:
        return (
            f"Migration {self.number} is missing from '{self.path}' or from this installation. Reinstall "
            "workflow_server."
        )


@dataclass(eq=False)
class DatabaseNotFound(DatabaseError):
    """Raised for a command about a database that is not there."""

    path: str

    def __str__(self) -> str:
        return f"There is no database at '{self.path}': name its file with --db."


@dataclass(eq=False)
class DatabaseUnreadable(DatabaseError):
    """Raised for a database that cannot be read."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.path}' cannot be read: {self.reason}."


@dataclass(eq=False)
class DestinationRefused(DatabaseError):
    """Raised for a copy that would replace something, or whose folder is not there."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.path}' was not written: {self.reason}."


@dataclass(eq=False)
class CopyFailed(MaintenanceError):
    """Raised for a copy that could not be finished; nothing is left of it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.path}' was not written: {self.reason}."


@dataclass(eq=False)
class DatabaseOlder(DatabaseError):
    """Raised for a command that needs the schema of this version."""

    path: str
    found: int
    known: int

    def __str__(self) -> str:
        return (
            f"'{self.path}' was written by an older workflow_server (schema {self.found}, this one has {self.known}). "
            "Start the server once, which migrates it."
        )


@dataclass(eq=False)
class WorkUnfinished(MaintenanceError):
    """Raised for a vacuum or a purge that could not be finished."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"The work on '{self.path}' was not finished: {self.reason}."
