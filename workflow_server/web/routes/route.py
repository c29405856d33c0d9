"""A route as it is known: enough to serve it and to describe it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

Models = tuple[type[BaseModel], ...]

JSON = "application/json"


@dataclass(frozen=True)
class Parameter:
    """A parameter in the query or in a header."""

    name: str
    description: str
    schema: Mapping[str, Any]
    where: str = "query"


@dataclass(frozen=True)
class Response:
    """The meaning of a status code here, and its body by content type: one of the models, or a schema."""

    description: str
    content: Mapping[str, Models | Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    summary: str
    responses: Mapping[int, Response]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    body_required: bool = False
    deprecated: bool = False
