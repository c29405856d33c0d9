"""The exit codes of the command: errors as a line on stderr and a code, and an end that nothing holds up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from workflow_server.cli.event_loop import left_behind
from workflow_server.errors import StartupError, WorkflowServerError
from workflow_server.shutdown import end_process

FAILURE = 1
"""The server failed while it ran."""
USAGE_ERROR = 2
"""The server could not start; click exits with it, too, where the command line is not valid."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Print errors of this server to stderr, and exit with the code for them."""
    try:
        yield
    except WorkflowServerError as error:
        click.echo(f"workflow-server: {error}", err=True)
        raise SystemExit(USAGE_ERROR if isinstance(error, StartupError) else FAILURE) from error


@contextmanager
def end_of_process() -> Iterator[None]:
    """End the process after the block, though a step left a task or thread behind that does not end."""
    code = 0
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILURE
        raise
    finally:
        if sys.exc_info()[0] in (None, SystemExit) and left_behind():
            end_process(code)
