"""The dashboard in docs/grafana.json asks for metrics, labels and values that there are."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.harness.spawning import ROOT
from tests.web.workflows import Echo
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.sqlite.store import SqliteWorkflowStore

DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs/grafana.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
VARIABLES: dict[str, Any] = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to each series that it reads."""


async def served(folder: Path) -> dict[str, dict[str, set[str]]]:
    """The labels of each series of a server and their values, by its name."""
    server = WorkflowServer(workflow_store=SqliteWorkflowStore(folder / "db"), settings=Settings())
    server.add_workflow("echo", Echo())
    async with TestClient(TestServer(server.app)) as client, client.get("/metrics") as response:
        families = list(parse(await response.text()))
    found: dict[str, dict[str, set[str]]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = found.setdefault(sample.name, {})
        for label, value in sample.labels.items():
            labels.setdefault(label, set()).add(value)
    return found


async def test_each_query_asks_for_series_and_labels_that_there_are(tmp_path: Path) -> None:
    known = await served(tmp_path)
    assert len(QUERIES) > 20
    for query in [
        *QUERIES,
        *(variable["query"]["query"] for variable in VARIABLES.values() if variable["type"] == "query"),
    ]:
        selected = SELECTOR.findall(query) or re.findall(r"label_values\((\w+)()", query)
        assert selected, query
        labels = OF_PROMETHEUS.union(*(known[name] for name, _ in selected))
        for name, conditions in selected:
            for label, kind, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', conditions):
                assert label in OF_PROMETHEUS | known[name].keys(), query
                assert kind == "=~" or value in known[name][label], query
        grouped = [label.strip() for group in GROUPED.findall(query) for label in group.split(",")]
        assert labels >= set(grouped), query


def test_each_query_uses_variables_that_there_are() -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - {"__rate_interval", "__all"} == VARIABLES.keys()


async def test_each_figure_of_the_server_is_in_a_panel(tmp_path: Path) -> None:
    known = await served(tmp_path)
    own = {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in known if name.startswith("workflow_server_")}
    shown = {re.sub(r"_(?:bucket|sum|count)$", "", name) for query in QUERIES for name, _ in SELECTOR.findall(query)}
    assert own - shown == set()


def test_panels_have_places_and_ids_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


@pytest.mark.parametrize(
    "panel", [panel for panel in PANELS if panel["type"] != "row"], ids=lambda panel: panel["title"]
)
def test_each_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
