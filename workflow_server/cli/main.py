"""The command ``workflow-server`` with its subcommands."""

from __future__ import annotations

import click

from workflow_server.cli.check import check
from workflow_server.cli.completion import completion
from workflow_server.cli.db import db
from workflow_server.cli.openapi import openapi
from workflow_server.cli.runs import runs
from workflow_server.cli.serve import serve
from workflow_server.cli.settings import settings
from workflow_server.cli.token import token
from workflow_server.cli.workflows import workflows


@click.group(
    help="Serve llama-index workflows durably: accepted runs survive crashes and restarts of the server.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="workflow_server", prog_name="workflow-server")
def main() -> None:
    """Run ``workflow-server``."""


main.add_command(serve)
main.add_command(openapi)
main.add_command(check)
main.add_command(settings)
main.add_command(token)
main.add_command(db)
main.add_command(runs)
main.add_command(workflows)
main.add_command(completion)
