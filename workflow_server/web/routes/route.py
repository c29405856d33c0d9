"""A route: what is needed to serve it, and to describe it in OpenAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from workflow_server.web.roles import Role

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Models = tuple[type[BaseModel], ...]


@dataclass(frozen=True)
class Parameter:
    """A parameter in the query, or in a header with ``where="header"``."""

    name: str
    description: str
    schema: Mapping[str, Any]
    where: str = "query"


@dataclass(frozen=True)
class Response:
    """The meaning of a status code, and the body for each content type: one of several models, or a schema."""

    description: str
    content: Mapping[str, Models | Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One method of one path, with the request handler that serves it."""

    method: str
    path: str
    handler: RouteHandler
    summary: str
    responses: Mapping[int, Response]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    body_required: bool = False
    deprecated: bool = False
    role: Role | None = "full"
    """The role that a token needs for it; None where it needs no token."""
    waits: bool = False
    """True if it is answered when a run has ended, or its reader has read: the time says nothing about the server."""

    @property
    def pattern(self) -> str:
        """The path as the router takes it: a parameter named ``path`` may hold slashes."""
        return self.path.replace("{path}", "{path:.+}")
