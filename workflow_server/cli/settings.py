"""``workflow-server settings``: each setting with its value and the place from which it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from workflow_server.cli.exit_codes import exit_codes
from workflow_server.cli.options import flag_of, given, setting_options
from workflow_server.cli.output import print_json, print_table
from workflow_server.settings import EXPOSED, Origin, Settings, origins

HELP = """Print the settings with which "serve" would start, and where each of them comes from.

Options come first, then the environment, then the file of --config, then the defaults. Tokens are hidden.
"""


@click.command(help=HELP)
@setting_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def settings(as_json: bool, **options: Any) -> None:
    """Run ``workflow-server settings``."""
    with exit_codes():
        loaded = Settings.load(given(options))
        places = origins(given(options))
        if loaded.exposed_file:
            click.echo(f"workflow-server: {EXPOSED % loaded.exposed_file}", err=True)
    values = loaded.model_dump(mode="json")
    if as_json:
        print_json({name: _described(values[name], places[name]) for name in values})
        return
    rows = [(name, _shown(values[name]), _place(places[name])) for name in values]
    print_table(("setting", "value", "source"), rows)


def _described(value: Any, origin: Origin) -> Mapping[str, Any]:
    return {"value": value, "source": origin.source, "name": None if origin.source == "default" else _place(origin)}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(part)}" for key, part in value.items()) or "none"
    return "none" if value is None else str(value)


def _place(origin: Origin) -> str:
    if origin.source == "option":
        return flag_of(origin.name)
    return origin.name or "default"
