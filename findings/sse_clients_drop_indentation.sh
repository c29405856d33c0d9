#!/usr/bin/env bash
# requests-sse 0.5.3 and aiohttp-sse-client2 0.3.0 (PyPI): all spaces at the beginning of a data line are dropped, and all
# empty data lines at the end of an event.
#
# The standard removes one space after the colon, and one line feed at the end of the data
# (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation). So the token " world", which
# is sent as "data:  world", should keep its space, and code its indentation. sseclient-py 1.9.0, beside them, keeps both.
#
# Seen:
#   requests-sse        ['Hello', 'world', 'def f():\nreturn 1']
#   aiohttp-sse-client2 ['Hello', 'world', 'def f():\nreturn 1']
#   sseclient-py        ['Hello', ' world', 'def f():\n    return 1\n\n']
#
# Exits 1 if that is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    requests-sse==0.5.3 aiohttp-sse-client2==0.3.0 sseclient-py==1.9.0
timeout 60 "$folder/env/bin/python" - <<'END'
import asyncio
import socket
import sys
import threading

import aiohttp_sse_client2.client
import requests
import requests_sse
import sseclient

BODY = b"data: Hello\n\ndata:  world\n\ndata: def f():\ndata:     return 1\ndata:\ndata:\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(BODY)
listening = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listening.getsockname()[1]}/"


def serve() -> None:
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(HEAD + BODY)


def with_requests_sse() -> list[str]:
    with requests_sse.EventSource(url) as source:
        return [next(source).data for _ in range(3)]


async def with_aiohttp_sse_client2() -> list[str]:
    async with aiohttp_sse_client2.client.EventSource(url) as source:
        return [(await source.__anext__()).data for _ in range(3)]


threading.Thread(target=serve, daemon=True).start()
found = with_requests_sse(), asyncio.run(with_aiohttp_sse_client2())
right = [event.data for event in sseclient.SSEClient(requests.get(url, stream=True)).events()]
print("requests-sse       ", found[0])
print("aiohttp-sse-client2", found[1])
print("sseclient-py       ", right)
lost = ["Hello", "world", "def f():\nreturn 1"]
sys.exit(not (found == (lost, lost) and right == ["Hello", " world", "def f():\n    return 1\n\n"]))
END
