#!/usr/bin/env bash
# requests-sse 0.5.3 (PyPI), with requests 2.32.5: one event becomes two when a CR LF falls on a multiple of 512 bytes.
#
# A stream may end its lines with CR LF. requests-sse takes its lines from Response.iter_lines, which reads pieces of 512
# bytes and splits each by itself: a CR at the end of one and the LF at the beginning of the next make an empty line, at
# which the event is handed out, without what follows. One would expect an event to come whole wherever a piece ends, as
# it does when the same event is one byte shorter.
#
# Seen, for an event of two data lines and an id:
#   CR LF at 511 and 512:  [(505, ''), (11, '7')]
#   one byte shorter:      [(516, '7')]
# (length of the data and id of each event)
#
# Exits 1 if that is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check requests-sse==0.5.3 requests==2.32.5
timeout 60 "$folder/env/bin/python" - <<'END'
import socket
import sys
import threading

import requests_sse


def events(first: int) -> list[tuple[int, str]]:
    """Length of the data, and id, of each event of a stream that holds one; its first data line has so many bytes."""
    body = b"data: " + b"a" * first + b"\r\ndata: second line\r\nid: 7\r\n\r\nevent: end\r\ndata: end\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(head + body)

    found = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        with requests_sse.EventSource(f"http://127.0.0.1:{listening.getsockname()[1]}/") as source:
            for event in source:
                if event.type == "end":
                    return found
                found.append((len(event.data), event.last_event_id))
    return found


torn, whole = events(505), events(504)
print("CR LF at 511 and 512: ", torn)
print("one byte shorter:     ", whole)
sys.exit(not (torn == [(505, ""), (11, "7")] and whole == [(516, "7")]))
END
