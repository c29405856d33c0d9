"""The response that a stream is written into: begun, and ended so that a reader can tell a break from an end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from workflow_server.errors import HandlerNotFound, ShuttingDown
from workflow_server.web.exceptions import AccessEnded
from workflow_server.web.state import SETTINGS
from workflow_server.web.streaming.bounded_writer import (
    BoundedWriter,
    ReaderLeft,
    ReaderStalled,
    limit_send_buffer,
    unbuffered,
)


async def write_stream(
    request: web.Request, headers: Mapping[str, str], write: Callable[[BoundedWriter], Awaitable[None]]
) -> web.StreamResponse:
    """Return the response to ``request``, into which ``write`` has written until the stream ended, the reader left,
    stalled or lost its access, or the server stopped.

    Raises:
        ReaderLeft: before anything was written.
    """
    settings = request.app[SETTINGS]
    response = web.StreamResponse(headers=dict(headers))
    # Not "Connection: close": with it, fetch of Node.js takes a stream that breaks off for one that has ended.
    # Whatever waits for a reader waits in the store, not in buffers.
    transport = unbuffered(request)
    limit_send_buffer(transport, settings.send_buffer)
    stream = await response.prepare(request)
    if stream is None:
        raise ReaderLeft
    try:
        await write(BoundedWriter(transport, stream, settings.write_timeout))
        transport.set_write_buffer_limits()
    except (ShuttingDown, HandlerNotFound, AccessEnded):
        transport.close()
    except (ReaderLeft, ReaderStalled):
        transport.abort()
    except Exception:
        transport.abort()
        raise
    return response
