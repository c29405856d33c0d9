"""schemathesis over ``/openapi.json``: what is sent comes from the description, and every answer is held against it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import CheckNode, Interaction, ScenarioRecorder

from tests.harness.plain_http import get_json
from workflow_server.protocol.responses import StreamedEvent

WORKFLOWS = ["count", "echo", "fail", "approve"]
DECISION = '{"type": "Decision", "value": {"approved": true}}'

REFUSED = ["400", "401", "403", "404", "405", "409", "413", "415", "417", "422", "429"]
"""Statuses with which invalid data may be refused: never a 5xx, which schemathesis would also take."""
# What a start event or an event has to look like, and which keys were used, only the workflow and the store know: data
# that is valid by the description may then be refused as the contract says.
_KNOWN_BY_THE_WORKFLOW = {"positive_data_acceptance": {"expected-statuses": ["2xx", *REFUSED]}}
# A handler that has failed is answered with 500, and is itself the body: ``problems`` holds each 5xx against that.
_HANDLER = {
    "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "500"]},
    "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "500"]},
}


@dataclass
class Fuzzed:
    """The requests sent, the checks made, and the failures."""

    cases: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def reached(self, operation: str) -> set[int]:
        """The statuses that an operation was seen to answer with."""
        return {status for name, status in self.statuses if name == operation}


class ContractFuzzer:
    """Runs all phases of schemathesis, stateful ones included, with all of its checks, against one server.

    ``aimed``: every name and id in a path is one that there is. Otherwise, some are.
    """

    def __init__(self, url: str, *, seed: int, examples: int, aimed: bool, token: str | None) -> None:
        self._url = url
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._ended = [self._run("count"), self._run("count")]
        config: dict[str, Any] = {
            "seed": seed,
            "request-timeout": 30,
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
            "dictionaries": {
                "handlers": {"values": self._ended},
                "workflows": {"values": WORKFLOWS},
                "decisions": {"values": [DECISION]},
            },
            "parameters": self._parameters(aimed),
            "checks": {"negative_data_rejection": {"expected-statuses": REFUSED}},
            "operations": list(self._operations(guarded=token is not None)),
        }
        if token is not None:
            config["auth"] = {"openapi": {"token": {"bearer": token}}}
        self._config = schemathesis.Config.from_dict(config)

    def _parameters(self, aimed: bool) -> dict[str, Any]:
        decisions = {"body.event": {"dictionary": "decisions", "probability": 0.3}}
        if aimed:
            return {"path.name": "count", "path.handler_id": self._ended[0], **decisions}
        return {
            "path.name": {"dictionary": "workflows", "probability": 0.7},
            "path.handler_id": {"dictionary": "handlers", "probability": 0.6},
            **decisions,
        }

    @staticmethod
    def _operations(*, guarded: bool) -> Iterator[dict[str, Any]]:
        yield {"include-path": ["/handlers/{handler_id}", "/results/{handler_id}"], "checks": _HANDLER}
        yield {
            "include-path": "/workflows/{name}/run",
            "checks": _KNOWN_BY_THE_WORKFLOW
            | {
                "not_a_server_error": _HANDLER["not_a_server_error"],
                "positive_data_acceptance": {"expected-statuses": ["2xx", "500", *REFUSED]},
            },
        }
        yield {"include-path": "/workflows/{name}/run-nowait", "checks": _KNOWN_BY_THE_WORKFLOW}
        yield {"include-path": "/events/{handler_id}", "include-method": "POST", "checks": _KNOWN_BY_THE_WORKFLOW}
        # Which tokens there are, and whether there are any, no schema says; and see below.
        yield {
            "include-path": "/session",
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ["2xx", *REFUSED]},
                "unsupported_method": {"enabled": not guarded},
            },
        }
        # Which cursors there are, and which filters go together, no schema says.
        yield {
            "include-path": ["/handlers", "/bulk/cancel", "/bulk/retry"],
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", *REFUSED]}},
        }
        if guarded:
            # Whether a method is known is told to those who have a token; only GET and HEAD of it need none.
            yield {
                "include-path": ["/health", "/ready", "/static/{version}/{path}"],
                "checks": {"unsupported_method": {"enabled": False}},
            }

    def _run(self, workflow: str) -> str:
        headers = {"Content-Type": "application/json", **self._headers}
        url = f"{self._url}/workflows/{workflow}/run"
        return str(get_json(urllib.request.Request(url, data=b"{}", headers=headers))["handler_id"])

    def run(self) -> Fuzzed:
        """Everything, to its end."""
        schema = schemathesis.openapi.from_url(f"{self._url}/openapi.json", config=self._config, headers=self._headers)
        fuzzed = Fuzzed()
        # The stream has no end, for which schemathesis would wait.
        for event in from_schema(schema.exclude(path="/handlers/stream")).execute():
            if isinstance(event, events.ScenarioFinished):
                self._note(fuzzed, event.phase.name.lower(), event.recorder)
            elif isinstance(event, events.NonFatalError):
                fuzzed.problems.append(f"{event.label}: {event.value!r}")
            elif isinstance(event, events.FatalError):
                fuzzed.problems.append(repr(event.exception))
        return fuzzed

    @staticmethod
    def _note(fuzzed: Fuzzed, phase: str, recorder: ScenarioRecorder) -> None:
        fuzzed.cases[phase] += len(recorder.interactions)
        for case_id, interaction in recorder.interactions.items():
            case = recorder.cases.get(case_id)
            operation = case.value.operation.label if case is not None else recorder.label
            status = interaction.response.status_code if interaction.response is not None else 0
            fuzzed.statuses[operation, status] += 1
            if (problem := _unlike_the_contract(interaction)) is not None:
                fuzzed.problems.append(f"{phase}: {_told(interaction)}: {problem}")
        for case_id, nodes in recorder.checks.items():
            for node in nodes:
                fuzzed.checks[node.name] += 1
                if node.failure_info is not None and not _is_no_body(node, recorder.interactions[case_id]):
                    told = _told(recorder.interactions[case_id])
                    fuzzed.problems.append(f"{phase}: {told}: {node.name}: {_reason(node)}")


def _is_no_body(node: CheckNode, interaction: Interaction) -> bool:
    """Return whether a blank body was taken for none, which is ``{}`` here and invalid JSON for schemathesis."""
    return node.name == "negative_data_rejection" and not (interaction.request.body or b"x").strip()


def _reason(node: CheckNode) -> str:
    assert node.failure_info is not None
    return f"{node.failure_info.failure.title}: {node.failure_info.failure.message[:400]}"


def _told(interaction: Interaction) -> str:
    answer = interaction.response
    sent = f"{interaction.request.method} {interaction.request.uri} {(interaction.request.body or b'')[:200]!r}"
    return f"{sent} -> {answer.status_code if answer else None} {answer.content[:200] if answer else b''!r}"


def _unlike_the_contract(interaction: Interaction) -> str | None:
    """Check what schemathesis does not: the body of a 5xx, and each line of NDJSON."""
    answer = interaction.response
    if answer is None:
        return "no answer"
    if answer.status_code >= 500:
        body = json.loads(answer.content)
        return None if answer.status_code == 500 and body.get("status") in ("failed", "cancelled") else "a 5xx"
    kinds = answer.headers.get("content-type") or [""]
    if kinds[0].startswith("application/x-ndjson"):
        for line in answer.content.splitlines():
            if line.strip():
                StreamedEvent.model_validate_json(line)
    return None
