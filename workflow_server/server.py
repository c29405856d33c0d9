"""The server: settings, store, manager and web application, wired together."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web
from aiohttp.typedefs import Middleware

from workflow_server.errors import ServerStopped, SettingsError, StorageError
from workflow_server.execution.containment import contained
from workflow_server.execution.engine import Event, Workflow
from workflow_server.execution.inbox_limits import InboxLimits
from workflow_server.execution.renaming import Renamed
from workflow_server.forking import (
    give_up_loop,
    give_up_sockets,
    signals_of_the_server,
    withhold_loop,
    withhold_sockets,
)
from workflow_server.printable import printable
from workflow_server.records import StoredRun
from workflow_server.runs.checking import Misfit
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.retention import RetentionRules
from workflow_server.runs.suspension import suspensions
from workflow_server.service_manager import ServiceManager
from workflow_server.settings import EXPOSED, Settings
from workflow_server.shutdown import AFTER_GRACE, HANDLED, SIGNALS, StopSignals
from workflow_server.store.base import AbstractWorkflowStore
from workflow_server.store.sqlite.store import SqliteWorkflowStore
from workflow_server.tracing import Tracing
from workflow_server.web.app import create_app
from workflow_server.web.http_server.descriptors import connection_limit
from workflow_server.web.http_server.reloading import ReloadedFiles
from workflow_server.web.http_server.runner import HttpRunner
from workflow_server.web.http_server.tls import Certificate
from workflow_server.web.openapi import openapi_schema
from workflow_server.web.state import AUTHENTICATION, WebSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

FAILED = 1
"""Exit code of a process whose store failed."""


class WorkflowServer:
    """Serves workflows over HTTP and keeps their runs through crashes and restarts.

    Args:
        workflow_store: the store of runs; by default the SQLite file in the settings, never memory.
        middlewares: aiohttp middlewares of your own; they run behind the server's access control.
        persistence_backoff: seconds before each retry of a failed write; overrides the settings.
        idle_timeout: seconds after which a run that only waits is released from memory, None or 0 for never;
            "settings" leaves it to the settings.
        settings: by default those in the environment (``WORKFLOW_SERVER_*``).
        tracer_provider: requests, runs and steps are traced by it, whatever the setting ``tracing`` is. It stays
            yours to shut down.

    Raises:
        SettingsError: the settings are not valid, or ask for traces without OpenTelemetry.
    """

    def __init__(
        self,
        *,
        workflow_store: AbstractWorkflowStore | None = None,
        middlewares: Sequence[Middleware] | None = None,
        persistence_backoff: Sequence[float] | None = None,
        idle_timeout: float | Literal["settings"] | None = "settings",
        settings: Settings | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._settings = settings if settings is not None else Settings.load()
        self._tracing = _traces(tracer_provider) if tracer_provider is not None or self._settings.tracing else None
        backoff = self._settings.persistence_backoff if persistence_backoff is None else persistence_backoff
        self._has_own_store = workflow_store is not None
        self._store = workflow_store or SqliteWorkflowStore(
            self._settings.db,
            persistence_backoff=backoff,
            allow_network_filesystem=self._settings.allow_network_filesystem,
        )
        self._manager = RuntimeManager(
            self._store,
            idle_timeout=self._settings.idle_timeout if idle_timeout == "settings" else idle_timeout or None,
            max_attempts=self._settings.max_attempts,
            accept_context=self._settings.accept_context,
            accept_handler_ids=self._settings.accept_handler_ids,
            engine_loop=self._settings.control_loop == "engine",
            limits=InboxLimits(
                waiting=self._settings.max_waiting_events,
                held=self._settings.max_held_events,
                size=self._settings.max_waiting_bytes,
            ),
            max_running_runs=self._settings.max_running_runs,
            retention=RetentionRules(self._settings.retained, self._settings.retain_runs),
            tracing=self._tracing,
        )
        self._middlewares = tuple(middlewares or ())
        self._app: web.Application | None = None
        self._started = False
        self._stopping: asyncio.Task[None] | None = None
        self._resumed = 0
        self._suspended = ""
        self._host = self._settings.host
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._certificate: Certificate | None = None

    def add_workflow(
        self,
        name: str,
        workflow: Workflow,
        additional_events: Sequence[type[Event]] | None = None,
        *,
        renamed: Renamed | None = None,
        version: str | None = None,
    ) -> None:
        """Register a workflow under a name.

        Args:
            name: the name in URLs.
            workflow: the workflow.
            additional_events: types that clients may send besides those in the signatures of its steps.
            renamed: by the earlier names of classes, functions, steps and modules that stored runs know, their
                successors: ``{"flows.Asked": Question, "ask": "question", "flows": "orders.flows"}``.
            version: the version of the code that is noted with each run that starts, at most 100 characters; by
                default a hash over the workflow's functions and the fields of its events.

        Raises:
            InvalidWorkflowName, DuplicateWorkflow, InvalidWorkflow: it cannot be served.
        """
        self._manager.add_workflow(name, workflow, additional_events or (), renamed=renamed, version=version)

    @property
    def workflow_names(self) -> list[str]:
        """The names of the registered workflows."""
        return self._manager.workflow_names()

    @property
    def has_own_store(self) -> bool:
        """True if the store was given, so that the setting ``db`` does not apply."""
        return self._has_own_store

    @property
    def app(self) -> web.Application:
        """The aiohttp application, to run or to mount elsewhere. It starts and stops this server with itself.

        Raises:
            TokenFileError: the file of tokens cannot be used.
        """
        if self._app is None:
            settings = self._settings
            web_settings = WebSettings(
                host=self._host,
                **{name: getattr(settings, name) for name in WebSettings.model_fields if name != "host"},
            )
            self._app = create_app(self._manager, web_settings, middlewares=self._middlewares, tracing=self._tracing)
            self._app.cleanup_ctx.append(self._lifespan)
            self._app.on_shutdown.append(self._end_streams)
        return self._app

    def openapi_schema(self) -> dict[str, Any]:
        """Return the HTTP API as OpenAPI 3.1."""
        return openapi_schema(needs_token=self._settings.needs_token)

    async def misfits(self, runs: Iterable[StoredRun]) -> list[Misfit]:
        """Return those of the runs that a start of this server would suspend; it is not started for that."""
        return await self._manager.misfits(runs)

    # -- Life ----------------------------------------------------------------------------------

    async def start(self) -> WorkflowServer:
        """Open the store and resume every run that was running. Does nothing if the server is started.

        A stopped server cannot be started again: create a new one, which resumes the runs of this one.

        Raises:
            ServerStopped: it was stopped.
            SettingsError: traces cannot be sent as the ``OTEL_*`` variables say.
            DatabaseError: the store cannot be used.
        """
        if self._stopping is not None:
            raise ServerStopped
        if not self._started:
            if self._settings.exposed_file:
                logger.warning(EXPOSED, self._settings.exposed_file)
            if self._tracing is not None:
                self._tracing.start()
            self._manager.listen()
            self._store.on_failure = self._fail
            try:
                await self._store.open()
            except BaseException:
                self._manager.release()
                raise
            self._started = True
            withhold_loop(asyncio.get_running_loop())
            try:
                self._resumed = await self._manager.resume()
                self._suspended = suspensions(self._manager.runs)
            except BaseException:
                # `start()` failed: the caller has nothing to stop, so clean up here.
                await self.stop()
                raise
        return self

    async def stop(self) -> None:
        """Give running steps the grace period to reach their next commit, and close the store.

        No run is cancelled: each continues at the next start. Cancelling this does not stop it; a second call returns
        when the server has stopped.
        """
        if self._started and self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name="stop the server")
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        try:
            await self._manager.stop(0.0 if self._failure is not None else self._settings.grace_period)
        finally:
            await self._store.close()
            if self._tracing is not None:
                await self._tracing.stop()
            give_up_loop(asyncio.get_running_loop())

    @asynccontextmanager
    async def contextmanager(self) -> AsyncIterator[WorkflowServer]:
        """Start the server for the block, and stop it after."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def _lifespan(self, _: web.Application) -> AsyncIterator[None]:
        async with self.contextmanager():
            yield

    async def _end_streams(self, _: web.Application) -> None:
        self._manager.close()

    def _fail(self, error: BaseException) -> None:
        logger.critical("The store failed, and the server stops: %s", error)
        self._failure = error
        self._failed.set()
        self._manager.close()

    # -- Serving -------------------------------------------------------------------------------

    async def serve(
        self, host: str | None = None, port: int | None = None, *, announce: Callable[[str], None] | None = None
    ) -> None:
        """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

        At SIGHUP, the files of tokens and of the TLS certificate are read again, where there are any; see ``reload``.
        After the first, the process ends within the grace period and 5 s more, with everything that steps have left
        running. ``announce`` gets the lines about the address, the database, the workflows and the resumed runs.

        Raises:
            SettingsError: the server would listen beyond this machine without a token.
            TokenFileError, CertificateError: a file in the settings cannot be used.
            ServerStopped: as ``start``.
            DatabaseError: the store cannot be used.
            OSError: the address cannot be bound.
            StorageError: the store failed while serving; what was acknowledged is safe.
        """
        self._host = host if host is not None else self._settings.host
        self._settings.check_bind(self._host)
        if self._settings.tls_cert and self._settings.tls_key:
            self._certificate = Certificate(self._settings.tls_cert, self._settings.tls_key)
        files = ReloadedFiles(self.app[AUTHENTICATION].tokens, self._certificate)
        sockets = _bind(self._host, self._settings.port if port is None else port)
        names = [bound.getsockname() for bound in sockets]
        withhold_sockets(*names)
        within = contained.set(self)
        try:
            with (
                StopSignals(self, self._settings.grace_period, files.ask if files else None) as signals,
                signals_of_the_server(HANDLED if files else SIGNALS),
            ):
                await self._serve_on(sockets, signals, files, announce or logger.info)
        finally:
            give_up_sockets(*names)
            contained.reset(within)
        if isinstance(self._failure, StorageError):
            raise self._failure

    async def _serve_on(
        self,
        sockets: Sequence[socket.socket],
        signals: StopSignals,
        files: ReloadedFiles,
        announce: Callable[[str], None],
    ) -> None:
        runner = HttpRunner(self.app, max_connections=connection_limit(self._settings.max_streams))
        reloading = asyncio.create_task(files.read_when_asked(), name="read files again")
        service = ServiceManager()
        try:
            with service.starting():
                await runner.setup()
                for bound in sockets:
                    await runner.listen(bound, None if self._certificate is None else self._certificate.context)
            self._announce(announce, sockets)
            service.ready(self._resumed_line())
            with service.watched():
                await _first_of(signals.stopping, self._failed)
            service.stopping(self._settings.grace_period + AFTER_GRACE)
            if self._failure is not None:
                signals.begin(0.0)
            await runner.cleanup()
        finally:
            # Once more, in case the one above was cancelled or failed halfway.
            await runner.cleanup()
            reloading.cancel()
            await asyncio.wait([reloading])
            for bound in sockets:
                bound.close()
            signals.exit_code = 0 if self._failure is None else FAILED
            await signals.give_up()
            # A thread that a step left behind must not delay the end of the loop.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))

    async def reload(self) -> None:
        """Read the files of tokens and of the TLS certificate again; one that cannot be used is logged, and what was
        read from it before stays in force. Tokens that are gone are refused, and their streams end within a second."""
        await ReloadedFiles(self.app[AUTHENTICATION].tokens, self._certificate).read()

    def _announce(self, say: Callable[[str], None], sockets: Sequence[socket.socket]) -> None:
        scheme = "http" if self._certificate is None else "https"
        for bound in sockets:
            address, port = bound.getsockname()[:2]
            say(f"Listening on {scheme}://{f'[{address}]' if ':' in address else address}:{port}")
        say(f"Database: {self._store.location}")
        say(f"Workflows: {', '.join(self.workflow_names) or 'none'}")
        say(self._resumed_line())

    def _resumed_line(self) -> str:
        suspended = f"; {self._suspended}" if self._suspended else ""
        return f"Resumed {self._resumed} {'run' if self._resumed == 1 else 'runs'}{suspended}"


def _traces(provider: object | None) -> Tracing:
    try:
        # Here, because it imports OpenTelemetry, which is an extra.
        from workflow_server.otel import OpenTelemetry
    except ImportError as error:
        raise SettingsError("Tracing needs OpenTelemetry: pip install 'workflow_server[otel]'.") from error
    except Exception as error:
        # It reads some of its variables as it is imported.
        problem = printable(f"{type(error).__name__}: {error}", 300)
        raise SettingsError(f"OpenTelemetry cannot be set up from the OTEL_* variables: {problem}") from error
    return OpenTelemetry(provider)


def _bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for every address of the host, before any run is resumed: a port in use changes nothing."""
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setblocking(False)
            bound.bind((address[0], sockets[0].getsockname()[1] if sockets[1:] else address[1], *address[2:]))
    except OSError:
        for bound in sockets:
            bound.close()
        raise
    return sockets


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait(), name="wait for the end of serving") for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
