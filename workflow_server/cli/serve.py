"""``workflow-server serve``: the server of TARGET, until a signal ends it."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import click

from workflow_server.cli import candidates
from workflow_server.cli.event_loop import new_event_loop, run
from workflow_server.cli.exit_codes import end_of_process, exit_codes
from workflow_server.cli.options import given, setting_options
from workflow_server.cli.target import load_server
from workflow_server.errors import SettingsError
from workflow_server.logs import as_json_line, set_up_logging
from workflow_server.settings import LogFormat, Settings, command_options

logger = logging.getLogger(__name__)

HELP = """Serve the workflows of TARGET until SIGTERM or SIGINT.

TARGET is a Python file (flows.py) or a module (my.flows) with a WorkflowServer or Workflow instances in its variables.
Name an attribute to serve only that: flows.py:server. A function that returns them must be named: flows.py:make.

Tokens come from the file of --token-file, which "workflow-server token" edits, or from the environment, separated by
commas: WORKFLOW_SERVER_TOKENS and WORKFLOW_SERVER_READ_TOKENS.
"""


@click.command(help=HELP)
@click.argument("target", shell_complete=candidates.files)
@setting_options
def serve(target: str, **options: Any) -> None:
    """Run ``workflow-server serve``."""
    with end_of_process(), exit_codes():
        settings = Settings.load(given(options))
        set_up_logging(settings.log_level, settings.log_format)
        with command_options(given(options)):
            server = load_server(target, settings)
        if server.has_own_store and given(options).get("db") is not None:
            logger.warning("TARGET has a store of its own: --db does not apply")
        loop = new_event_loop(settings.event_loop)
        try:
            run(server.serve(settings.host, settings.port, announce=_announce_as(settings.log_format)), loop)
        except OSError as error:
            problem = _bind_problem(error, settings)
            if problem is None:
                raise
            raise SettingsError(problem) from error


def _announce_as(form: LogFormat) -> Callable[[str], None]:
    def announce(line: str) -> None:
        click.echo(as_json_line(line) if form == "json" else line)
        sys.stdout.flush()

    return announce


def _bind_problem(error: OSError, settings: Settings) -> str | None:
    """Return why the server cannot listen, or None where the error is about something else."""
    if isinstance(error, socket.gaierror):
        return f"Host '{settings.host}' cannot be resolved: use an address of this machine as --host."
    reasons = {
        errno.EADDRINUSE: f"Port {settings.port} on {settings.host} is in use: use another --port.",
        errno.EACCES: f"Port {settings.port} needs privileges that this user does not have: use a --port above 1023.",
        errno.EADDRNOTAVAIL: f"'{settings.host}' is not an address of this machine: use another --host.",
    }
    return reasons.get(error.errno or 0)
