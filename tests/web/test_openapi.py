"""The description of the API is valid, and describes what is served."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from tests.web.conftest import Serve, Served
from workflow_server.web.openapi import openapi_schema

STATUSES: dict[tuple[str, str], set[str]] = {
    ("get", "/health"): {"200", "503"},
    ("get", "/ready"): {"200", "503"},
    ("get", "/metrics"): {"200"},
    ("get", "/server"): {"200", "400", "503"},
    ("get", "/workflows"): {"200"},
    ("get", "/workflows/{name}/events"): {"200", "400", "404"},
    ("get", "/workflows/{name}/schema"): {"200", "404"},
    ("get", "/workflows/{name}/representation"): {"200", "404"},
    ("get", "/workflows/{name}/stats"): {"200", "400", "404", "503"},
    ("post", "/workflows/{name}/run"): {"200", "400", "404", "409", "413", "415", "422", "500", "503", "507"},
    ("post", "/workflows/{name}/run-nowait"): {"200", "400", "404", "409", "413", "415", "422", "503", "507"},
    ("get", "/handlers"): {"200", "400"},
    ("get", "/handlers/stats"): {"200", "400"},
    ("get", "/handlers/stream"): {"200", "400", "429", "503"},
    ("post", "/bulk/cancel"): {"200", "400"},
    ("post", "/bulk/retry"): {"200", "400"},
    ("get", "/handlers/{handler_id}"): {"200", "202", "400", "404", "500"},
    ("get", "/handlers/{handler_id}/history"): {"200", "400", "404", "503"},
    ("get", "/handlers/{handler_id}/state"): {"200", "400", "404", "409", "503"},
    ("get", "/results/{handler_id}"): {"200", "202", "404", "500"},
    ("get", "/events/{handler_id}"): {"200", "204", "400", "404", "409", "429"},
    ("post", "/events/{handler_id}"): {"200", "400", "404", "409", "413", "415", "422", "503", "507"},
    ("post", "/handlers/{handler_id}/cancel"): {"200", "400", "404", "503"},
    ("post", "/handlers/{handler_id}/retry"): {"200", "400", "404", "409", "413", "415", "422", "503", "507"},
    ("post", "/session"): {"200", "400", "401", "415", "429"},
    ("get", "/session"): {"200"},
    ("delete", "/session"): {"200"},
    ("get", "/openapi.json"): {"200"},
    ("get", "/"): {"200"},
    ("get", "/static/{version}/{path}"): {"200", "304", "404"},
}
"""Each route that clients are promised, with status codes that its description has to name."""
SAY_SO = "a route comes or goes in web/routes/table.py and in STATUSES of this test, so that none does so unseen"


async def test_the_description_that_is_served_is_valid_openapi_3_1(served: Served) -> None:
    status, schema = await served.get("/openapi.json")
    assert status == 200
    assert schema["openapi"].startswith("3.1")
    validate(schema, cls=OpenAPIV31SpecValidator)


def test_the_description_is_the_same_at_every_call() -> None:
    assert json.dumps(openapi_schema()) == json.dumps(openapi_schema())


def test_every_route_of_the_contract_is_described_with_every_status() -> None:
    paths = openapi_schema()["paths"]
    described = {(method, path) for path, methods in paths.items() for method in methods}
    assert described == STATUSES.keys(), SAY_SO
    for (method, path), statuses in STATUSES.items():
        assert statuses <= paths[path][method]["responses"].keys(), (method, path)
        if path not in ("/health", "/ready", "/session", "/static/{version}/{path}"):
            assert {"400", "401", "403", "429", "500"} <= paths[path][method]["responses"].keys()


async def test_what_is_described_is_what_is_routed(served: Served) -> None:
    routed = {
        (route.method.lower(), route.resource.canonical)
        for route in served.server.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routed == STATUSES.keys(), SAY_SO


@pytest.mark.parametrize("model", ["HandlerData", "EventEnvelope", "ErrorDetail", "RunBody", "StreamedEvent"])
def test_the_models_that_serve_are_the_models_that_are_described(model: str) -> None:
    schemas: dict[str, Any] = openapi_schema()["components"]["schemas"]
    assert model in schemas


def test_the_old_name_of_the_start_fields_is_described_as_it_is_sent() -> None:
    assert set(openapi_schema()["components"]["schemas"]["RunBody"]["properties"]) == {
        "start_event",
        "kwargs",
        "context",
        "handler_id",
        "tags",
    }


async def test_the_answers_of_a_server_have_the_keys_that_are_described(served: Served) -> None:
    handler_id = await served.finish("echo")
    schemas = openapi_schema()["components"]["schemas"]
    for path, model in ((f"/handlers/{handler_id}", "HandlerDetails"), (f"/results/{handler_id}", "HandlerResult")):
        _, answer = await served.get(path)
        assert set(schemas[model]["properties"]) == set(answer)


async def test_a_server_with_tokens_says_that_it_asks_for_one(serve: Serve) -> None:
    token = "a-token-that-may-only-read"
    guarded = await serve(read_tokens=(token,))
    _, schema = await guarded.get("/openapi.json", headers={"Authorization": f"Bearer {token}"})
    assert schema["security"] == [{"token": []}, {"session": []}]
    assert schema["components"]["securitySchemes"].keys() == {"token", "session"}
    assert schema == guarded.server.openapi_schema()
    assert schema["paths"]["/health"]["get"]["security"] == []
    _, schema = await (await serve()).get("/openapi.json")
    assert schema["security"] == [{}, {"token": []}, {"session": []}]


def test_a_streamed_event_is_described_by_sequence_time_envelope() -> None:
    schemas = openapi_schema()
    content = schemas["paths"]["/events/{handler_id}"]["get"]["responses"]["200"]["content"]
    event = content["text/event-stream"]["schema"]["properties"]
    assert event["data"]["contentSchema"] == {"$ref": "#/components/schemas/PublishedEvent"}
    in_data, line = (schemas["components"]["schemas"][name] for name in ("PublishedEvent", "StreamedEvent"))
    assert set(in_data["properties"]) == {"value", "type", "types", "qualified_name", "time"}
    assert set(line["properties"]) == {*in_data["properties"], "sequence"}
    assert {"time", "sequence"} <= set(line["required"])
