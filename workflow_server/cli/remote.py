"""A server as the commands for people reach it: over HTTP, with a token."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote

import aiohttp
import click

from workflow_server.cli.exit_codes import exit_codes
from workflow_server.errors import WorkflowServerError
from workflow_server.printable import printable

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE, TOKEN_VARIABLE = "WORKFLOW_SERVER_URL", "WORKFLOW_SERVER_TOKEN"
PATIENCE = 10.0
"""Seconds for which a request is made again that nobody answers: most restarts take less."""
PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds between two tries; the last one stays."""
TOO_MANY = 429
LONGEST_DETAIL = 2_000

Query = Sequence[tuple[str, str]]
Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(eq=False)
class Refused(WorkflowServerError):
    """Raised where the server answers with an error."""

    status: int
    detail: str
    after: float = 0.0
    """The seconds after which the server is to be asked again, where a limit has refused this."""

    def __str__(self) -> str:
        hint = f" This command takes it from {TOKEN_VARIABLE}." if self.status == 401 else ""
        return f"the server refused this ({self.status}): {self.detail}{hint}"


@dataclass(eq=False)
class Unreachable(WorkflowServerError):
    """Raised where no server answers."""

    url: str
    reason: str

    def __str__(self) -> str:
        return f"no server answers at {self.url}: {self.reason}"


class Remote:
    """A server at ``url``, as long as the session is open."""

    def __init__(self, session: aiohttp.ClientSession, url: str, patience: float) -> None:
        self.url = url
        self._session = session
        self._patience = patience

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, token: str | None, *, patience: float = PATIENCE) -> AsyncIterator[Self]:
        """Yield the server at this URL; nothing is sent yet."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=None, connect=10.0)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            yield cls(session, url.rstrip("/"), patience)

    async def get(self, *path: str, query: Query = ()) -> Any:
        """Return the JSON at a path.

        Raises:
            Refused, Unreachable: it cannot be had. A handler that failed is an answer, too.
        """
        return await self._repeated(lambda: self._answer("GET", path, query, None, {}))

    async def post(self, *path: str, body: object = None, query: Query = ()) -> Any:
        """Return the answer to a POST. It is sent until no limit refuses it, and may have been done where that fails.

        Raises:
            Refused, Unreachable: it was not done, or nobody has said so.
        """
        return await self._repeated(lambda: self._answer("POST", path, query, body, {}), once=True)

    async def post_once(self, *path: str, body: object) -> Any:
        """Return the answer to a POST, which is made again where nobody answers: it has a key, so that nothing is done
        twice.

        Raises:
            Refused, Unreachable: as ``post``.
        """
        headers = {"Idempotency-Key": secrets.token_urlsafe(18)}
        return await self._repeated(lambda: self._answer("POST", path, (), body, headers))

    @asynccontextmanager
    async def stream(self, *path: str, query: Query) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a response whose body comes over time.

        Raises:
            Refused, aiohttp.ClientError, OSError: there is none.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience
        while True:
            request = self._session.get(_url(self.url, path), params=list(query), allow_redirects=False)
            async with request as response:
                if response.status in (200, 204):
                    yield response
                    return
                refused = _refused(response, await response.read())
            if refused.status != TOO_MANY or clock() + refused.after > until:
                raise refused
            await asyncio.sleep(refused.after)

    async def _answer(
        self, method: str, path: Sequence[str], query: Query, body: object, headers: Mapping[str, str]
    ) -> Any:
        sent: dict[str, Any] = {} if body is None else {"json": body}
        # A redirect would take the token to another place.
        request = self._session.request(
            method, _url(self.url, path), params=list(query), headers=headers, allow_redirects=False, **sent
        )
        try:
            async with request as response:
                data = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(self.url, reason_of(error)) from error
        answer = _json(data)
        if response.status < 300 and answer is None:
            raise Refused(response.status, _NO_SERVER)
        if response.status >= 300 and not (isinstance(answer, dict) and "handler_id" in answer):
            raise _refused(response, data)
        return answer

    async def _repeated(self, request: Callable[[], Coroutine[Any, Any, T]], *, once: bool = False) -> T:
        """Make a request again until it is answered, by something other than a limit or a server that starts or stops.

        One that may be done only ``once`` is made again where a limit has refused it, and for no other reason.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience
        tries = 0
        while True:
            try:
                return await request()
            except (Unreachable, Refused) as error:
                limited = isinstance(error, Refused) and error.status == TOO_MANY
                pause = _pause(error, tries, once=once)
                if pause is None or clock() + pause > until:
                    raise
                if not tries and not limited:
                    click.echo(f"workflow-server: {error}; trying again for {self._patience:.0f} s", err=True)
            tries += 1
            await asyncio.sleep(pause)


def _pause(error: Refused | Unreachable, tries: int, *, once: bool) -> float | None:
    """Return the seconds until a request is made again; None if it is not."""
    if isinstance(error, Refused) and error.status == TOO_MANY:
        return error.after
    if once or (isinstance(error, Refused) and error.status != 503):
        return None
    return PAUSES[min(tries, len(PAUSES) - 1)]


def _refused(response: aiohttp.ClientResponse, data: bytes) -> Refused:
    after = response.headers.get("Retry-After", "")
    return Refused(response.status, _detail(data), float(after) if after.isdecimal() else PAUSES[-1])


def reason_of(error: BaseException) -> str:
    """Return why a server could not be reached, in one line."""
    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ServerDisconnectedError):
        text += " (a server with TLS does so where its URL begins with http:// and not https://)"
    return printable(text, 300)


def _url(url: str, path: Sequence[str]) -> str:
    return "/".join((url, *(quote(part, safe="") for part in path)))


_NO_SERVER = "the answer is not that of a workflow server; is this its URL?"


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _detail(data: bytes) -> str:
    answer = _json(data)
    detail = answer.get("detail") if isinstance(answer, dict) else None
    text = detail if isinstance(detail, str) else _NO_SERVER
    return printable(text, LONGEST_DETAIL)


# -- Options ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Connection:
    """The server that a command is for."""

    url: str
    token: str | None

    def run(self, work: Callable[[Remote], Coroutine[Any, Any, T]]) -> T:
        """Do the work with the server; errors become a line and an exit code."""

        async def connected() -> T:
            async with Remote.opened(self.url, self.token) as remote:
                return await work(remote)

        with exit_codes():
            return asyncio.run(connected())


def connected(command: Command) -> Command:
    """Add the options that name a server; the command gets them as a ``connection``."""

    @functools.wraps(command)
    def with_connection(url: str, token: str | None, **options: Any) -> Any:
        return command(connection=Connection(url, token), **options)

    about_token = f"Token. Other users may see it in a list of processes: prefer {TOKEN_VARIABLE}."
    add_token = click.option("--token", envvar=TOKEN_VARIABLE, callback=_checked_token, help=about_token)
    add_url = click.option(
        "--url",
        envvar=URL_VARIABLE,
        default=DEFAULT_URL,
        show_default=True,
        callback=_checked,
        help="URL of the server.",
    )
    return cast(Command, add_url(add_token(with_connection)))


def _checked_token(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[!-~]+", value):
        raise click.BadParameter("expected visible ASCII characters.")
    return value


def _checked(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise click.BadParameter("expected http://HOST:PORT or https://HOST, with a path where a proxy adds one.")
    return value
