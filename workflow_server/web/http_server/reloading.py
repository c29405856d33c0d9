"""Files that a server reads again while it runs: that of its tokens, and those of its TLS certificate."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from workflow_server.web.access.tokens import Tokens
from workflow_server.web.exceptions import CertificateError, TokenFileError
from workflow_server.web.http_server.tls import Certificate

logger = logging.getLogger(__name__)


class ReloadedFiles:
    """The files of a server, read again on demand. One that cannot be used is logged, and what was read from it before
    stays in force."""

    def __init__(self, tokens: Tokens, certificate: Certificate | None = None) -> None:
        self._tokens = tokens
        self._certificate = certificate
        self._asked = asyncio.Event()

    def __bool__(self) -> bool:
        return self._tokens.file is not None or self._certificate is not None

    def ask(self) -> None:
        """Have the files read soon by ``read_when_asked``; any number of calls before that are one."""
        self._asked.set()

    async def read_when_asked(self) -> None:
        """Read the files whenever that was asked for; does not return."""
        while True:
            await self._asked.wait()
            # Before the files are read: what changes meanwhile is read once more.
            self._asked.clear()
            try:
                await self.read()
            except Exception:
                # No thread could be started, for one. The next time it may work.
                logger.exception("The files could not be read again: what was read before stays")

    async def read(self) -> None:
        """Read the files again."""
        if self._tokens.file is not None:
            try:
                await _in_own_thread(self._tokens.load)
                logger.info("Read the token file again: %d tokens are known", self._tokens.number)
            except TokenFileError as error:
                logger.error("%s The tokens of before stay.", error)  # noqa: TRY400 the reason is all of it
        if self._certificate is not None:
            try:
                await _in_own_thread(self._certificate.load)
                logger.info("Read the TLS certificate again")
            except CertificateError as error:
                logger.error("%s The certificate of before stays.", error)  # noqa: TRY400 the reason is all of it


async def _in_own_thread(load: Callable[[], None]) -> None:
    """Call ``load`` in a thread that waits for no other: slow calls of steps may occupy all threads of the loop's pool,
    and a token that was revoked must not stay valid until they end."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[None] = loop.create_future()

    def done(error: Exception | None) -> None:
        if loaded.done():
            return
        if error is None:
            loaded.set_result(None)
        else:
            loaded.set_exception(error)

    def call() -> None:
        failed: Exception | None = None
        try:
            load()
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done, failed)

    threading.Thread(target=call, name="read files again", daemon=True).start()
    await loaded
