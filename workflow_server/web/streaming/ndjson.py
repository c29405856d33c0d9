"""Newline-delimited JSON: an envelope a line, with its time and its sequence as two keys more."""

from __future__ import annotations

from workflow_server.web.streaming.event_format import EventFormat


def _record(sequence: int, envelope: str, time: str) -> str:
    return f'{envelope[:-1]},"time":{time},"sequence":{sequence}}}\n'


NDJSON = EventFormat(
    content_type="application/x-ndjson",
    opening=b"",
    # A space is insignificant before the next record; an empty line is a record to those who parse each line.
    heartbeat=b" ",
    record=_record,
)
