"""Requests with nothing but the standard library."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def post_json(url: str, body: object) -> dict[str, Any]:
    """The JSON object that a POST of this JSON is answered with."""
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    return get_json(request)


def get_json(url: str | urllib.request.Request) -> dict[str, Any]:
    """The JSON object that a GET is answered with."""
    with urllib.request.urlopen(url, timeout=30) as response:
        answer = json.load(response)
    assert isinstance(answer, dict)
    return answer
