"""``workflow-server db``: commands on the database file, most of them while a server runs on it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from workflow_server.cli.exit_codes import exit_codes
from workflow_server.cli.options import given, options_of
from workflow_server.cli.output import print_json, progress, size
from workflow_server.logs import set_up_logging
from workflow_server.settings import Settings
from workflow_server.store.sqlite import backup as backups
from workflow_server.store.sqlite.inspection import Content

Command = TypeVar("Command", bound=Callable[..., Any])

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
        yield settings


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
        content = backups.back_up(
            Path(settings.db).resolve(),
            _absolute(dest),
            progress=report,
            allow_network_filesystem=settings.allow_network_filesystem,
        )
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
        content = backups.restore(
            backup.resolve(),
            _absolute(Path(settings.db)),
            progress=report,
            allow_network_filesystem=settings.allow_network_filesystem,
        )
    _print_copy(content, "Restored", Path(settings.db), as_json=as_json)


def _absolute(path: Path) -> Path:
    """Return where a new file is made: a link in its place is not followed, so that it is refused."""
    return path.parent.resolve() / path.name


def _print_copy(content: Content, done: str, path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"path": str(path), **content._asdict()})
        return
    click.echo(
        f"{done} to '{path}': {size(content.bytes)}, {content.handlers:,} handlers, {content.unfinished:,} unfinished"
    )
