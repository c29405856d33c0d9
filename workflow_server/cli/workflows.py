"""``workflow-server workflows``: the workflows of a server, over HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import click

from workflow_server.cli import candidates
from workflow_server.cli.output import json_lines, print_json_line, print_table
from workflow_server.cli.remote import Connection, Remote, connected
from workflow_server.printable import printable

Json = dict[str, Any]


@click.group(help="List and describe the workflows of a server.")
def workflows() -> None:
    """Run ``workflow-server workflows``."""


@workflows.command("list", help="List the workflows, with the numbers of their runs.")
@json_lines
@connected
def list_workflows(connection: Connection, as_json: bool) -> None:
    """Run ``workflow-server workflows list``."""

    async def work(remote: Remote) -> tuple[list[str], Json]:
        names: list[str] = (await remote.get("workflows"))["workflows"]
        return names, (await remote.get("handlers", "stats"))["workflows"]

    names, counts = connection.run(work)
    none = dict.fromkeys(("running", "completed", "failed", "cancelled"), 0)
    rows = [(name, counts.get(name, none)) for name in names]
    if as_json:
        for name, numbers in rows:
            print_json_line({"workflow": name, **numbers})
        return
    print_table(("workflow", *none), [(name, *(numbers[status] for status in none)) for name, numbers in rows])


@workflows.command(help="Show what a workflow is started with, and its steps and events as a graph.")
@click.argument("name", shell_complete=candidates.workflows)
@json_lines
@connected
def show(connection: Connection, name: str, as_json: bool) -> None:
    """Run ``workflow-server workflows show``."""

    async def work(remote: Remote) -> tuple[Json, Json]:
        schema = await remote.get("workflows", name, "schema")
        return schema, (await remote.get("workflows", name, "representation"))["graph"]

    schema, graph = connection.run(work)
    if as_json:
        print_json_line({"workflow": name, **schema, "graph": graph})
        return
    click.echo("Start event:")
    _print_fields(schema["start"])
    click.echo("\nSteps:")
    for line in _lines(graph):
        click.echo(f"  {printable(line)}")


def _print_fields(schema: Json) -> None:
    required = schema.get("required", ())
    rows = [
        (name, str(field.get("type", "any")), "yes" if name in required else "", str(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    ]
    if rows:
        print_table(("field", "type", "required", "description"), rows)
    else:
        click.echo("  any fields")


def _lines(graph: Json) -> Iterator[str]:
    """Yield a line for each step: the events that it takes, and those that it makes."""
    labels = {node["id"]: str(node.get("label", node["id"])) for node in graph["nodes"]}
    kinds = {node["id"]: str(node.get("node_type", "")) for node in graph["nodes"]}
    takes, makes = defaultdict(list), defaultdict(list)
    for edge in graph["edges"]:
        makes[edge["source"]].append(labels.get(edge["target"], edge["target"]))
        takes[edge["target"]].append(labels.get(edge["source"], edge["source"]))
    for node, label in labels.items():
        if kinds[node] == "step":
            yield f"{' | '.join(takes[node]) or '?'} -> {label} -> {' | '.join(makes[node]) or 'nothing'}"
