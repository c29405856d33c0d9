"""The API as OpenAPI 3.1, made from the table of routes and the models that serve it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from workflow_server.protocol.events import PublishedEvent
from workflow_server.protocol.responses import ErrorDetail
from workflow_server.web.access.authentication import COOKIE, SAFE_COOKIE
from workflow_server.web.middleware import READING
from workflow_server.web.responses import JSON
from workflow_server.web.roles import ROLES, Role, includes
from workflow_server.web.routes.route import Parameter, Response, Route
from workflow_server.web.routes.table import ROUTES

API_VERSION = "1.0.0"
"""The version of the API, not of the program."""

_REFERENCE = "#/components/schemas/{model}"
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_PATH_DESCRIPTIONS = {
    "name": "The name of a workflow.",
    "handler_id": "The id of a handler, from the response to its start.",
    "version": "The version of the files, from the start page.",
    "path": "The path of a file; it may hold slashes.",
}

_EVERYWHERE = {
    400: "The request is malformed.",
    403: "The host or origin is not allowed, or the role of the token is too small.",
    500: "The server failed.",
}
_WITH_TOKEN = {401: "Missing or unknown token.", 429: "Too many requests, or too many wrong tokens."}
_WITH_BODY = {
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON, or is compressed.",
    417: "Expect is not 100-continue.",
}

Schemas = Mapping[tuple[type[BaseModel], JsonSchemaMode], dict[str, Any]]


def openapi_schema(*, needs_token: bool = False) -> dict[str, Any]:
    """Return the description, the same at every call; with ``needs_token``, a token is required in it."""
    # The second is in the data of Server-Sent Events, whose schema is that of no model.
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (ErrorDetail, "serialization"),
        (PublishedEvent, "serialization"),
    ]
    for route in ROUTES:
        if route.body is not None:
            models.append((route.body, "validation"))
        models.extend((model, "serialization") for response in route.responses.values() for model in _models(response))
    generated, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template=_REFERENCE)
    for definition in definitions["$defs"].values():
        # It is the docstring of the model, which speaks to readers of the code, and which -OO drops.
        definition.pop("description", None)
    schemas = {(model, mode): generated[model, mode] for model, mode in models}
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "workflow_server",
            "version": API_VERSION,
            "description": "A durable server for llama-index-workflows.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": f"The session of a browser; under HTTPS the name is {SAFE_COOKIE}.",
                },
            },
        },
        # Without tokens in its settings, the server accepts requests with and without one.
        "security": [*([] if needs_token else [{}]), {"token": []}, {"session": []}],
    }


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "responses": _responses(route, schemas),
    }
    if parameters := [*_path_parameters(route), *map(_parameter, route.parameters)]:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {JSON: {"schema": schemas[route.body, "validation"]}},
        }
    if route.deprecated:
        operation["deprecated"] = True
    if route.role is None:
        operation["security"] = []
    else:
        operation["description"] = f"Needs a token with the role {_role(route.role)}, where the server has tokens."
    return operation


def _role(role: Role) -> str:
    """Return the roles that include this one."""
    return " or ".join(other for other in ROLES if includes(other, role))


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    common = dict(_EVERYWHERE)
    if route.role is not None:
        common |= _WITH_TOKEN
    if route.method not in READING:
        common |= _WITH_BODY
    described = {
        status: Response(description, {JSON: (ErrorDetail,)}) for status, description in common.items()
    } | dict(route.responses)
    return {str(status): _response(described[status], schemas) for status in sorted(described)}


def _response(response: Response, schemas: Schemas) -> dict[str, Any]:
    content = {
        kind: {"schema": dict(body) if isinstance(body, Mapping) else _one_of(body, schemas)}
        for kind, body in response.content.items()
    }
    return {"description": response.description, **({"content": content} if content else {})}


def _one_of(models: tuple[type[BaseModel], ...], schemas: Schemas) -> dict[str, Any]:
    references = [schemas[model, "serialization"] for model in models]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _models(response: Response) -> list[type[BaseModel]]:
    return [model for body in response.content.values() if not isinstance(body, Mapping) for model in body]


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_DESCRIPTIONS[name],
            "schema": {"type": "string"},
        }
        for name in _PATH_PARAMETER.findall(route.path)
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
