"""Names of tokens in the histories of handlers, and in the log of what is gone with its history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Serve, Served
from workflow_server.web.access.token_file import add_token

ANSWER = {"event": {"type": "Answered", "value": {"text": "yes"}}}


class Team:
    """Clients with tokens, each by its name."""

    def __init__(self, served: Served, tokens: dict[str, str]) -> None:
        self._served = served
        self._tokens = tokens

    async def posts(self, name: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._tokens[name]}"}
        status, answer = await self._served.post(path, headers=headers, **options)
        assert status == 200, answer
        return answer

    async def history(self, handler_id: str) -> list[tuple[str, str]]:
        """The entries that somebody caused, each with the name."""
        headers = {"Authorization": f"Bearer {self._tokens['ann']}"}
        _, page = await self._served.get(f"/handlers/{handler_id}/history", headers=headers)
        return [(entry["kind"], entry["by"]) for entry in page["history"] if entry["by"] is not None]


@pytest.fixture
async def team(serve: Serve, tmp_path: Path) -> Team:
    names = ("ann", "ben", "cem", "dee")
    tokens = {name: add_token(tmp_path / "tokens", name, "full") for name in names}
    return Team(await serve(token_file=str(tmp_path / "tokens")), tokens)


async def test_the_history_names_who_started_sent_cancelled_retried(team: Team) -> None:
    handler_id = (await team.posts("ann", "/workflows/ask/run-nowait"))["handler_id"]
    await team.posts("ben", f"/handlers/{handler_id}/cancel")
    await team.posts("cem", f"/handlers/{handler_id}/retry")
    await team.posts("dee", f"/events/{handler_id}", json=ANSWER)
    told = [("started", "ann"), ("cancel_requested", "ben"), ("started", "cem"), ("retried", "cem")]
    assert await team.history(handler_id) == [*told, ("event_sent", "dee")]


async def test_the_history_names_who_acted_on_many(team: Team) -> None:
    handler_id = (await team.posts("ann", "/workflows/ask/run-nowait"))["handler_id"]
    await team.posts("ben", "/bulk/cancel?workflow_name=ask&running=true")
    await team.posts("cem", "/bulk/retry?workflow_name=ask&status=cancelled")
    told = [("started", "ann"), ("cancel_requested", "ben"), ("started", "cem"), ("retried", "cem")]
    assert await team.history(handler_id) == told


async def test_the_log_names_who_deleted(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    one, other = [(await team.posts("ann", "/workflows/echo/run", json={}))["handler_id"] for _ in range(2)]
    await team.posts("ben", f"/handlers/{one}/cancel?purge=true")
    await team.posts("cem", "/bulk/cancel?workflow_name=echo&status=completed&purge=true")
    deleted = [message for message in caplog.messages if message.startswith("Deleted")]
    assert deleted == [f"Deleted handler {one}, by 'ben'", f"Deleted handler {other}, by 'cem'"]
