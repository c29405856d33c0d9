"""Query parameters and what they may be."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from workflow_server.web.routes.events import LONGEST_WAIT, stream_options, stream_position


@pytest.mark.parametrize(("asked", "waited"), [("0", 0), ("2.5", 2.5), ("3601", LONGEST_WAIT), ("1e300", LONGEST_WAIT)])
def test_nobody_waits_for_the_shared_queue_for_longer_than_an_hour(asked: str, waited: float) -> None:
    request = make_mocked_request("GET", f"/events/x?acquire_timeout={asked}")
    assert stream_position(request, stream_options(request)) == (-1, waited)
