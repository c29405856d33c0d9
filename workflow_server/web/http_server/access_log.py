"""The access log: one record for each request that was answered, without anything of bodies, queries and tokens."""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_request import BaseRequest

from workflow_server.log_context import request_id
from workflow_server.printable import printable
from workflow_server.web.state import CLIENT, HANDLER_ID, PRINCIPAL

LOGGER = logging.getLogger("workflow_server.access")

LONGEST_METHOD = 20
LONGEST_NAME = 128
"""Characters of a method, and of a name or an id in a path, beyond which it is cut: clients may send any."""


class Access(NamedTuple):
    """The message of a record: ``str`` of it is the line, its fields are those of a JSON record. None is not known."""

    method: str
    path: str | None
    """The path of the route, as in ``/handlers/{handler_id}``: an unknown path may be anything, a token included."""
    status: int
    bytes: int
    """Of the response, its head included."""
    duration_ms: float
    """From the head of the request to the end of the response."""
    remote: str | None
    """The address of the client, as a trusted proxy has told it where there is one."""
    workflow: str | None = None
    handler_id: str | None = None
    token: str | None = None
    """The name of the token."""
    request_id: str | None = None

    def __str__(self) -> str:
        about = {
            "workflow": self.workflow,
            "handler": self.handler_id,
            "token": self.token,
            "from": self.remote,
            "request": self.request_id,
        }
        # As JSON strings: a space or a quotation mark in a name makes no further field of the line.
        known = "".join(f" {name}={json.dumps(value)}" for name, value in about.items() if value is not None)
        path = self.path or "an unknown path"
        return f"{self.method} {path} {self.status} {self.bytes} B {self.duration_ms:.1f} ms{known}"


class AccessLog(AbstractAccessLogger):
    """Writes the access log; aiohttp makes one for each connection."""

    @property
    def enabled(self) -> bool:
        """Return whether the records would be seen."""
        return self.logger.isEnabledFor(logging.INFO)

    def log(self, request: BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the record of a request that took ``time`` seconds."""
        self.logger.info(_access(request, response.status, time))


def _access(request: BaseRequest, status: int, seconds: float) -> Access:
    path = workflow = handler_id = None
    id_ = request_id.get()
    # A request that is not valid HTTP never came to the middleware, and has no route.
    if id_ is not None and isinstance(request, web.Request):
        found = request.match_info
        path = None if found.route.resource is None else found.route.resource.canonical
        workflow, handler_id = _cut(found.get("name")), request.get(HANDLER_ID) or _cut(found.get("handler_id"))
    token = request.get(PRINCIPAL)
    return Access(
        printable(request.method, LONGEST_METHOD),
        path,
        status,
        request.writer.output_size,
        round(seconds * 1000, 3),
        request.get(CLIENT) or request.remote,
        workflow,
        handler_id,
        None if token is None else token.name,
        id_,
    )


def _cut(name: str | None) -> str | None:
    return None if name is None else name[:LONGEST_NAME]
