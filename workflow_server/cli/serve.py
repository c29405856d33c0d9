"""The command ``workflow-server``: settings, TARGET, server, exit code."""

from __future__ import annotations

import errno
import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

import click

from workflow_server.cli.event_loop import left_behind, run
from workflow_server.cli.target import load_server
from workflow_server.errors import SettingsError, StartupError, WorkflowServerError
from workflow_server.logs import set_up_logging
from workflow_server.server import WorkflowServer
from workflow_server.settings import ENV_PREFIX, Settings, check_interpreter, command_options
from workflow_server.shutdown import end_process

NOT_OPTIONS = frozenset({"tokens", "read_tokens"})
"""A command line is visible to everybody on the machine: secrets come from the environment only."""

SINGULAR = {"allowed_hosts": "--allowed-host", "cors_origins": "--cors-origin"}

USAGE_ERROR = 2
FAILURE = 1

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(command: Command) -> Command:
    """An option for every setting but the secrets; what it may hold is for ``Settings`` alone to say."""
    for name, field in reversed(Settings.model_fields.items()):
        if name in NOT_OPTIONS:
            continue
        flag = SINGULAR.get(name, f"--{name.replace('_', '-')}")
        text = f"{field.description} {_default(field.default)}[{ENV_PREFIX}{name.upper()}]"
        if field.annotation is bool:
            option = click.option(flag, name, is_flag=True, default=None, help=text)
        elif name in SINGULAR:
            option = click.option(flag, name, multiple=True, default=None, metavar="NAME", help=f"{text} Repeatable.")
        else:
            option = click.option(flag, name, default=None, metavar=_metavar(field.annotation), help=text)
        command = option(command)
    return command


def _default(value: Any) -> str:
    if value is None or value is False or value == ():
        return ""
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"[default: {shown}] "


def _metavar(annotation: Any) -> str:
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    if int in kinds:
        return "N"
    return "SECONDS" if "float" in str(annotation) else "TEXT"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="workflow_server", prog_name="workflow-server")
def main() -> None:
    """Serve llama-index workflows durably: every run that was accepted survives the death of the server."""


@main.command()
@click.argument("target")
@setting_options
def serve(target: str, **options: Any) -> None:
    """Serve the workflows of TARGET until SIGTERM or SIGINT.

    TARGET is a Python file or a module that holds a WorkflowServer, or Workflow instances, in variables: flows.py,
    my.flows. To serve one attribute of it, name that: flows.py:server. A function has to be named, flows.py:make,
    and is called to get them.

    Tokens are set in the environment: WORKFLOW_SERVER_TOKENS and WORKFLOW_SERVER_READ_TOKENS, comma-separated.
    """
    with nothing_left_behind(), exit_codes():
        settings, server = _prepare(target, options)
        try:
            run(server.serve(settings.host, settings.port, announce=_announce))
        except OSError as error:
            problem = _why_not_bound(error, settings)
            if problem is None:
                raise
            raise SettingsError(problem) from error


@main.command()
@click.argument("target", required=False)
@click.option("--output", "-o", type=click.Path(dir_okay=False, writable=True), help="File to write instead of stdout.")
def openapi(target: str | None, output: str | None) -> None:
    """Print the HTTP API as OpenAPI 3.1.

    With TARGET, its workflows are loaded first; nothing is started and no database is touched.
    """
    with exit_codes():
        server = WorkflowServer(settings=Settings.load()) if target is None else _prepare(target, {})[1]
        text = json.dumps(server.openapi_schema(), indent=2, ensure_ascii=False) + "\n"
        if output is None:
            click.echo(text, nl=False)
            return
        try:
            Path(output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.FileError(output, error.strerror or str(error)) from error


def _prepare(target: str, options: dict[str, Any]) -> tuple[Settings, WorkflowServer]:
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    settings = Settings.load(given)
    set_up_logging(settings.log_level)
    with command_options(given):
        return settings, load_server(target, settings)


def _announce(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


@contextmanager
def exit_codes() -> Iterator[None]:
    """Say what went wrong on stderr: exit code 2 where a start was not possible, 1 where a server failed."""
    try:
        check_interpreter()
        yield
    except WorkflowServerError as error:
        click.echo(f"workflow-server: {error}", err=True)
        raise SystemExit(USAGE_ERROR if isinstance(error, StartupError) else FAILURE) from error


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """End the process after what is inside, though something of a step still runs that does not end."""
    code = 0
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILURE
        raise
    finally:
        if sys.exc_info()[0] in (None, SystemExit) and left_behind():
            end_process(code)


def _why_not_bound(error: OSError, settings: Settings) -> str | None:
    """Return what kept the server from listening, or None where the error is another one."""
    if isinstance(error, socket.gaierror):
        return f"Host '{settings.host}' is not known here: use an address of this machine as --host."
    reasons = {
        errno.EADDRINUSE: f"Port {settings.port} on {settings.host} is in use: use another --port.",
        errno.EACCES: f"Port {settings.port} needs privileges that this user does not have: use a --port above 1023.",
        errno.EADDRNOTAVAIL: f"'{settings.host}' is not an address of this machine: use another --host.",
    }
    return reasons.get(error.errno or 0)
