"""Server-Sent Events: the sequence as ``id``, the envelope with its time as ``data``.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from workflow_server.web.streaming.event_format import EventFormat

RETRY_MILLISECONDS = 1_000
"""The time after which a browser reconnects."""


def _record(sequence: int, envelope: str, time: str) -> str:
    return f'id: {sequence}\ndata: {envelope[:-1]},"time":{time}}}\n\n'


SSE = EventFormat(
    content_type="text/event-stream",
    # Without an empty line behind them: at one, many readers dispatch an event, though it has no data.
    opening=b"retry: %d\n" % RETRY_MILLISECONDS,
    heartbeat=b": heartbeat\n",
    record=_record,
)
