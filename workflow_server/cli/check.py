"""``workflow-server check``: the unfinished runs of a database against the code of TARGET."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from workflow_server.cli.db import command, database_options
from workflow_server.cli.exit_codes import FAILURE, end_of_process
from workflow_server.cli.options import given
from workflow_server.cli.output import Report, print_json, print_table, progress
from workflow_server.cli.target import load_server
from workflow_server.records import StoredRun
from workflow_server.runs.checking import Misfit
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings, command_options
from workflow_server.store.sqlite.unfinished import UnfinishedRuns, unfinished_runs

HELP = """Load every unfinished run of the database with the code of TARGET, and list those that do not fit it.

A start with this code would suspend them. No step runs, and nothing is written: a server may run on the database, with
other code and an older schema. The exit code is 1 if there is such a run.
"""


@click.command(help=HELP)
@click.argument("target")
@database_options
def check(target: str, as_json: bool, **options: Any) -> None:
    """Run ``workflow-server check``."""
    with end_of_process(), command(options) as settings:
        with command_options(given(options)):
            server = load_server(target, settings)
        with progress("Checking") as report:
            unfinished, found = _checked(server, settings, report)
        if as_json:
            suspended = [misfit._asdict() for misfit in found]
            print_json({"path": settings.db, "unfinished": unfinished, "suspended": suspended})
        else:
            _print(settings, unfinished, found)
        if found:
            raise SystemExit(FAILURE)


def _checked(server: WorkflowServer, settings: Settings, report: Report) -> tuple[int, list[Misfit]]:
    """Return how many runs have not ended, and those of them that do not fit."""
    allowed = settings.allow_network_filesystem
    with unfinished_runs(Path(settings.db).resolve(), allow_network_filesystem=allowed) as runs:
        found = asyncio.run(server.misfits(_reported(runs, report)))
        return len(runs), found


def _reported(runs: UnfinishedRuns, report: Report) -> Iterator[StoredRun]:
    for done, stored in enumerate(runs):
        report(done, len(runs))
        yield stored


def _print(settings: Settings, unfinished: int, found: list[Misfit]) -> None:
    if found:
        print_table(("handler", "workflow", "started with", "why"), [_row(misfit) for misfit in found])
        click.echo()
    runs = "1 unfinished run" if unfinished == 1 else f"{unfinished:,} unfinished runs"
    outcome = f"{len(found):,} would be suspended" if found else "all fit the code"
    click.echo(f"'{settings.db}': {runs}, {outcome}")


def _row(misfit: Misfit) -> tuple[str, ...]:
    name = f"; it is stored as '{misfit.stored_name}'" if misfit.stored_name else ""
    return misfit.handler_id, misfit.workflow_name, misfit.code_version or "unknown", f"{misfit.reason}{name}"
