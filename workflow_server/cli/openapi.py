"""``workflow-server openapi``: the HTTP API as a document."""

from __future__ import annotations

import json
from pathlib import Path

import click

from workflow_server.cli import candidates
from workflow_server.cli.exit_codes import exit_codes
from workflow_server.cli.target import load_server
from workflow_server.logs import set_up_logging
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings

HELP = """Print the HTTP API as OpenAPI 3.1.

With TARGET, its server or workflows are loaded first; nothing is started, and no database is opened.
"""


@click.command(help=HELP)
@click.argument("target", required=False, shell_complete=candidates.files)
@click.option("--output", "-o", type=click.Path(dir_okay=False, writable=True), help="File to write instead of stdout.")
def openapi(target: str | None, output: str | None) -> None:
    """Run ``workflow-server openapi``."""
    with exit_codes():
        text = json.dumps(_server(target).openapi_schema(), indent=2, ensure_ascii=False) + "\n"
        if output is None:
            click.echo(text, nl=False)
            return
        try:
            Path(output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.FileError(output, error.strerror or str(error)) from error


def _server(target: str | None) -> WorkflowServer:
    settings = Settings.load()
    if target is None:
        return WorkflowServer(settings=settings)
    set_up_logging(settings.log_level, settings.log_format)
    return load_server(target, settings)
