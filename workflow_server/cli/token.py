"""``workflow-server token``: the tokens in a file, which the server reads at its start and at SIGHUP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from workflow_server.ages import AN_AGE, seconds_of
from workflow_server.cli.exit_codes import exit_codes
from workflow_server.cli.output import print_json, print_table
from workflow_server.settings import ENV_PREFIX
from workflow_server.web.access.token_file import A_NAME, add_token, read_token_file, revoke_token
from workflow_server.web.roles import ROLES, Role, Token

Command = TypeVar("Command", bound=Callable[..., Any])

VARIABLE = f"{ENV_PREFIX}TOKEN_FILE"
RELOAD = "A server that runs knows it after SIGHUP."


def _file(command: Command) -> Command:
    return click.option(
        "--file",
        required=True,
        envvar=VARIABLE,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"The file of tokens, --token-file of the server. [{VARIABLE}]",
    )(command)


def _lifetime(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    seconds = seconds_of(value)
    try:
        if seconds:
            return timedelta(seconds=seconds)
    except OverflowError:
        pass
    raise click.BadParameter(f"expected {AN_AGE}.")


@click.group(help="Make, list and revoke the tokens in a file.")
def token() -> None:
    """Run ``workflow-server token``."""


NEW = """Make a token, print it, and add its hash to the file, which is made if there is none.

Nobody can read the token again. A server that runs knows it after SIGHUP.
"""


@token.command(help=NEW)
@click.option("--name", required=True, help=f"Who it is for, shown in logs: {A_NAME}.")
@click.option(
    "--role",
    required=True,
    type=click.Choice(ROLES),
    help="read: only look; run: start, send and cancel, too; full: delete and bulk actions, too.",
)
@click.option("--expires", callback=_lifetime, metavar="AGE", help=f"When it stops being valid: {AN_AGE}.")
@_file
def new(name: str, role: str, expires: timedelta | None, file: Path) -> None:
    """Run ``workflow-server token new``."""
    with exit_codes():
        # The hash is stored first: a token that was printed is valid.
        secret = add_token(file, name, cast(Role, role), expires)
    click.echo(secret)
    click.echo(f"workflow-server: added '{name}' with the role {role} to '{file}'. {RELOAD}", err=True)


@token.command("list", help="List the tokens in the file by their names, without the tokens.")
@_file
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(file: Path, as_json: bool) -> None:
    """Run ``workflow-server token list``."""
    with exit_codes():
        tokens = read_token_file(file)
    if as_json:
        print_json([_described(token) for token in tokens])
        return
    rows = [[value or "" for value in _described(token).values()] for token in tokens]
    print_table(("name", "role", "created", "expires"), rows)


@token.command(help="Take the token NAME out of the file. A server that runs refuses it after SIGHUP.")
@click.argument("name")
@_file
def revoke(name: str, file: Path) -> None:
    """Run ``workflow-server token revoke``."""
    with exit_codes():
        revoke_token(file, name)
    click.echo(f"workflow-server: revoked '{name}'. A server that runs refuses it after SIGHUP.", err=True)


def _described(token: Token) -> dict[str, str | None]:
    return {
        "name": token.name,
        "role": token.role,
        "created": None if token.created is None else token.created.isoformat(),
        "expires": None if token.expires is None else token.expires.isoformat(),
    }
