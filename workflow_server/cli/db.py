"""``workflow-server db``: commands on the database file, most of them while a server runs on it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from workflow_server.ages import AN_AGE, seconds_of
from workflow_server.cli.exit_codes import FAILURE, exit_codes
from workflow_server.cli.options import given, options_of
from workflow_server.cli.output import counted, print_json, print_table, progress, size
from workflow_server.errors import WorkflowServerError
from workflow_server.logs import set_up_logging
from workflow_server.records import STATUSES, HandlerCount, Status
from workflow_server.settings import Settings
from workflow_server.store.sqlite import backup as backups
from workflow_server.store.sqlite import exceptions, maintenance
from workflow_server.store.sqlite.inspection import Content
from workflow_server.store.sqlite.maintenance import Selection
from workflow_server.store.sqlite.migrations import known_migrations
from workflow_server.store.sqlite.stats import statistics

Command = TypeVar("Command", bound=Callable[..., Any])

DAMAGE = (
    exceptions.DatabaseDamaged,
    exceptions.DatabaseAltered,
    exceptions.DatabaseMissing,
    exceptions.LogDamaged,
    exceptions.LogLeftBehind,
    exceptions.MigrationEdited,
    exceptions.MigrationMissing,
)
"""Errors that say that the database needs mending: a failure, where others say that the command was not begun."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def database_options(command: Command) -> Command:
    """Add the options that name a database."""
    return options_of("db", "config", "allow_network_filesystem")(as_json(command))


@contextmanager
def command(options: dict[str, Any]) -> Iterator[Settings]:
    """Read the settings for a command on the database; turn errors into exit codes, and signals into an exception, so
    that nothing half done is left behind."""
    with exit_codes():
        # Nobody listens: a token that only the server's environment has is not missing here.
        settings = Settings.load({**given(options), "insecure": True})
        set_up_logging(settings.log_level)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        try:
            yield settings
        except DAMAGE as error:
            raise _failed(error) from error


def _failed(error: WorkflowServerError) -> SystemExit:
    click.echo(f"workflow-server: {error}", err=True)
    return SystemExit(FAILURE)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


@click.group(help="Back up, restore, check and clean the database.")
def db() -> None:
    """Run ``workflow-server db``."""


BACKUP = """Copy the database to the new file DEST, also while a server runs on it.

The copy has every run that was acknowledged before. It is checked, and gets its name when it is whole; DEST must not
exist.
"""


@db.command(help=BACKUP)
@click.argument("dest", type=click.Path(path_type=Path))
@database_options
def backup(dest: Path, as_json: bool, **options: Any) -> None:
    """Run ``workflow-server db backup``."""
    with command(options) as settings, progress("Backing up") as report:
        content = backups.back_up(_file(settings), _absolute(dest), progress=report, **_allowed(settings))
    _print_copy(content, "Backed up", dest, as_json=as_json)


RESTORE = """Copy the backup BACKUP to the place of the database, where none may be.

The backup is checked first. The next start of a server resumes its runs.
"""


@db.command(help=RESTORE)
@click.argument("backup", type=click.Path(path_type=Path))
@database_options
def restore(backup: Path, as_json: bool, **options: Any) -> None:
    """Run ``workflow-server db restore``."""
    with command(options) as settings, progress("Restoring") as report:
        content = backups.restore(backup.resolve(), _absolute(Path(settings.db)), progress=report, **_allowed(settings))
    _print_copy(content, "Restored", Path(settings.db), as_json=as_json)


def _file(settings: Settings) -> Path:
    return Path(settings.db).resolve()


def _allowed(settings: Settings) -> dict[str, bool]:
    return {"allow_network_filesystem": settings.allow_network_filesystem}


def _absolute(path: Path) -> Path:
    """Return where a new file is made: a link in its place is not followed, so that it is refused."""
    return path.parent.resolve() / path.name


def _print_copy(content: Content, done: str, path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"path": str(path), **content._asdict()})
        return
    click.echo(f"{done} to '{path}': {_told(content)}")


def _told(content: Content) -> str:
    return f"{size(content.bytes)}, {counted(content.handlers, 'handler')}, {content.unfinished:,} unfinished"


CHECK = """Read the whole database and check it as a start does, also while a server runs on it.

The exit code is 1 if it is damaged.
"""


@db.command(help=CHECK)
@database_options
def check(as_json: bool, **options: Any) -> None:
    """Run ``workflow-server db check``."""
    with command(options) as settings:
        newest = len(known_migrations(settings.db))
        try:
            with progress("Checking"):
                content = maintenance.check(_file(settings), **_allowed(settings))
        except DAMAGE as error:
            if as_json:
                print_json({"path": settings.db, "sound": False, "problem": str(error)})
            raise
    if as_json:
        print_json({"path": settings.db, "sound": True, "problem": None, "newest_schema": newest, **content._asdict()})
        return
    schema = f"schema {content.schema}"
    if content.schema < newest:
        schema += f" (the next start migrates it to {newest})"
    click.echo(f"'{settings.db}' is sound: {schema}, {_told(content)}")
    if not content.gives_space_back:
        click.echo(KEEPS_SIZE)


KEEPS_SIZE = "The file does not become smaller by itself when handlers are deleted: after one 'db vacuum' it does."

STATS = """Print the size of the database, of its tables, and the number of handlers by workflow and status.

A server may run meanwhile. Bytes of a table include its indexes.
"""


@db.command(help=STATS)
@database_options
def stats(as_json: bool, **options: Any) -> None:
    """Run ``workflow-server db stats``."""
    with command(options) as settings, progress("Counting"):
        found = statistics(_file(settings), **_allowed(settings))
    if as_json:
        tables = [table._asdict() for table in found.tables]
        print_json({**found._asdict(), "tables": tables, "handlers": _counts(found.handlers)})
        return
    print_table(("file", "bytes"), [(name, getattr(found, name)) for name in ("file", "log", "free")])
    click.echo()
    print_table(
        ("table", "rows", "bytes"), [(*row[:2], "unknown" if row[2] is None else row[2]) for row in found.tables]
    )
    click.echo()
    print_table(("workflow", "status", "handlers"), found.handlers)
    if found.being_deleted:
        told = counted(found.being_deleted, "handler")
        click.echo(f"\nThe deletion of {told} was interrupted, or goes on: the next start finishes it.")
    if not found.gives_space_back:
        click.echo(f"\n{KEEPS_SIZE}")


VACUUM = """Write the database anew without what it no longer needs, so that the file becomes smaller, and becomes
smaller by itself from then on.

No server may run on it. The disk needs room for another copy, and so does the folder for temporary files.
"""


@db.command(help=VACUUM)
@database_options
def vacuum(as_json: bool, **options: Any) -> None:
    """Run ``workflow-server db vacuum``."""
    with command(options) as settings, progress("Vacuuming"):
        before, after = maintenance.vacuum(_file(settings), **_allowed(settings))
    if as_json:
        print_json({"path": settings.db, "before": before, "after": after})
        return
    click.echo(f"'{settings.db}': {size(before)} before, {size(after)} after")


# -- Purging ---------------------------------------------------------------------------------------


def _age(_: click.Context, __: click.Parameter, value: str) -> float:
    """Return the seconds of an age like ``30d``."""
    seconds = seconds_of(value)
    if seconds is None:
        raise click.BadParameter(f"expected {AN_AGE}.")
    return seconds


PURGE = """Delete handlers that ended so long ago, with their events, results and state.

No server may run on the database, unless with --dry-run. With the status "running", the age counts from the start of
the run.
"""


@db.command(help=PURGE)
@click.option("--older-than", required=True, metavar="AGE", callback=_age, help="Age, as in 30d, 12h or 90m.")
@click.option(
    "--status", "statuses", multiple=True, required=True, type=click.Choice(STATUSES), help="Status. Repeatable."
)
@click.option("--workflow", "workflows", multiple=True, metavar="NAME", help="Only this workflow. Repeatable.")
@click.option("--running", is_flag=True, help="Allow runs to be deleted that have not ended.")
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@database_options
def purge(
    older_than: float,
    statuses: Sequence[Status],
    workflows: Sequence[str],
    running: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run ``workflow-server db purge``."""
    if "running" in statuses and not running:
        raise click.UsageError("--status running would delete runs that have not ended: add --running to do that.")
    selection = Selection(statuses, workflows or None, time.time() - older_than)
    with command(options) as settings, progress("Purging") as report:
        if dry_run:
            counts = maintenance.count_selected(_file(settings), selection, **_allowed(settings))
        else:
            counts = maintenance.purge(_file(settings), selection, progress=report, **_allowed(settings))
    total = sum(count.number for count in counts)
    if as_json:
        print_json({"path": settings.db, "dry_run": dry_run, "handlers": total, "by_workflow": _counts(counts)})
        return
    if counts:
        print_table(("workflow", "status", "handlers"), counts)
    click.echo(f"{'Would delete' if dry_run else 'Deleted'} {counted(total, 'handler')}")


def _counts(counts: Sequence[HandlerCount]) -> list[dict[str, Any]]:
    return [{"workflow": name, "status": status, "handlers": number} for name, status, number in counts]
