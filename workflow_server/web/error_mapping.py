"""The mapping from errors to status codes and responses.

Whatever goes wrong, the client gets JSON with one line of bounded length that says what was wrong, and never a
traceback, SQL or a path.
"""

from __future__ import annotations

import json
import logging

from aiohttp import hdrs, web

from workflow_server import errors
from workflow_server.printable import printable
from workflow_server.web import exceptions
from workflow_server.web.responses import JSON
from workflow_server.web.streaming.bounded_writer import has_left

logger = logging.getLogger(__name__)

MAX_ANSWER = 2_000
"""Bytes of an error response."""

STATUS: dict[type[errors.WorkflowServerError], int] = {
    exceptions.TokenRequired: 401,
    exceptions.RoleTooSmall: 403,
    exceptions.QueueIsForWriters: 403,
    exceptions.HostRefused: 403,
    exceptions.OriginRefused: 403,
    exceptions.PathNotFound: 404,
    exceptions.MethodRefused: 405,
    exceptions.BodyTooSlow: 408,
    exceptions.BodyTooLarge: 413,
    exceptions.NotJson: 415,
    exceptions.ExpectationRefused: 417,
    exceptions.TooManyStreams: 429,
    exceptions.TooManyStreamsOfToken: 429,
    exceptions.TooManyWrongTokens: 429,
    exceptions.TooManyRequests: 429,
    errors.TooManyRuns: 429,
    errors.TooManyEvents: 429,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.KeyReused: 422,
    errors.RequestRefused: 400,
    errors.ShuttingDown: 503,
    errors.StorageFull: 507,
    errors.UnitRefused: 413,
    errors.StorageError: 503,
}
"""The nearest base of an error decides; an error without one is unexpected, and 500."""

_STORE_DETAILS: dict[type[errors.WorkflowServerError], str] = {
    errors.UnitRefused: "This is too large to store.",
    errors.CommitUnknown: "The store failed in the middle of a commit: whether this request was stored is known only "
    "after a restart of the server.",
    errors.StoreUnavailable: "The store cannot commit at present: nothing was stored. Try again later.",
    errors.StoreGone: "The database was moved or deleted: whether this request was stored is unknown, and the "
    "server stops.",
    errors.StoreClosed: "The store is closed: the server is shutting down.",
    errors.StorageFull: str(errors.StorageFull()),
    errors.StorageError: "The store failed.",
}
"""Messages about errors of the store for clients. The errors' own go to the log: they may name files and SQL."""

_HEADERS = {
    401: {hdrs.WWW_AUTHENTICATE: 'Bearer realm="workflow_server"'},
    429: {hdrs.RETRY_AFTER: "5"},
    503: {hdrs.RETRY_AFTER: "5"},
    507: {hdrs.RETRY_AFTER: "30"},
}


def status_of(error: Exception) -> int:
    """Return the status code for ``error``."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def error_response(error: Exception) -> web.Response:
    """Return the response that tells a client about ``error``."""
    status = status_of(error)
    headers = {str(name): value for name, value in _HEADERS.get(status, {}).items()}
    detail = "Internal server error" if status == 500 else str(error)
    if isinstance(error, errors.StorageError):
        detail = next(_STORE_DETAILS[kind] for kind in type(error).__mro__ if kind in _STORE_DETAILS)
    if isinstance(error, exceptions.MethodRefused):
        headers[hdrs.ALLOW] = error.allowed
    if isinstance(error, (exceptions.TooManyWrongTokens, exceptions.TooManyRequests)):
        headers[hdrs.RETRY_AFTER] = str(error.seconds)
    problems = error.problems if isinstance(error, errors.InvalidFields) else ()
    return _detail(status, detail, headers, problems)


def answer_to(request: web.Request, error: Exception) -> web.StreamResponse:
    """Return the response to a request that raised ``error``; log what was not expected.

    Raises:
        Exception: ``error`` itself, where it is no error, or nobody is there to read a response.
    """
    if isinstance(error, web.HTTPException):
        return _translated(request, error)
    if isinstance(error, ConnectionError) and has_left(request):
        raise error
    if isinstance(error, errors.StorageError) or status_of(error) == 500:
        # The route, not the path: what clients send does not go into the log.
        resource = request.match_info.route.resource
        where = resource.canonical if resource else "an unknown path"
        # A database that is gone ends the server: a traceback for each request would hide that message.
        trace = None if isinstance(error, errors.StoreGone) else error
        logger.log(logging.ERROR, "%s %s failed", request.method, where, exc_info=trace)
    return error_response(error)


def _translated(request: web.Request, answer: web.HTTPException) -> web.StreamResponse:
    if answer.status < 400:
        raise answer
    if isinstance(answer, web.HTTPMethodNotAllowed):
        return error_response(exceptions.MethodRefused(request.method, ", ".join(sorted(answer.allowed_methods))))
    if isinstance(answer, web.HTTPNotFound) and request.match_info.http_exception is answer:
        return error_response(exceptions.PathNotFound())
    kept = {
        name: value for name, value in answer.headers.items() if name not in (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)
    }
    return _detail(answer.status, answer.text or answer.reason, kept)


def _detail(
    status: int, detail: str, headers: dict[str, str], problems: tuple[errors.FieldProblem, ...] = ()
) -> web.Response:
    return web.Response(status=status, body=_bounded(detail, problems), content_type=JSON, headers=headers)


def _bounded(detail: str, problems: tuple[errors.FieldProblem, ...]) -> bytes:
    """Return the errors as JSON of at most ``MAX_ANSWER`` bytes, whatever others wrote into them."""
    text = printable(detail, MAX_ANSWER)
    body = json.dumps({"detail": text}).encode()
    while len(body) > MAX_ANSWER:
        # A character takes 12 bytes at most.
        text = text[: -1 - max(1, (len(body) - MAX_ANSWER) // 12)] + "…"
        body = json.dumps({"detail": text}).encode()
    return _with_fields(text, problems, body)


def _with_fields(detail: str, problems: tuple[errors.FieldProblem, ...], body: bytes) -> bytes:
    """Return ``body`` with the fields that are not valid, as many as there is room for."""
    fields: list[dict[str, object]] = []
    for path, message in problems:
        parts = [part if isinstance(part, int) else printable(part) for part in path]
        fields.append({"path": parts, "message": message})
        longer = json.dumps({"detail": detail, "errors": fields}).encode()
        if len(longer) > MAX_ANSWER:
            break
        body = longer
    return body
