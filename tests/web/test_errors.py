"""Every error is JSON that says what was wrong, and nothing of the inside gets out."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, web
from aiohttp.typedefs import Handler

from tests.errors import every_error
from tests.web.conftest import JSON_TYPE, Serve, Served
from workflow_server import errors
from workflow_server.execution.containment import contained
from workflow_server.execution.exceptions import InvalidEvent, QueueTaken, WorkflowNotFound
from workflow_server.runs.exceptions import ContextRefused, HandlerNotRunning, RunAlreadyEnded, RunSuspended
from workflow_server.web.error_mapping import MAX_ANSWER, error_response, status_of


async def test_an_unknown_path_is_404_in_json(served: Served) -> None:
    for path in ("/nothing", "/workflows/", "/handlers/a/b", "/%00"):
        status, answer = await served.get(path)
        assert status == 404
        assert "/openapi.json" in answer["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/workflows", "GET, HEAD"),
        ("GET", "/workflows/echo/run", "POST"),
        ("DELETE", "/events/x", "GET, HEAD, POST"),
        ("OPTIONS", "/health", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_allowed_is_405_and_says_which_are(
    served: Served, method: str, path: str, allowed: str
) -> None:
    async with served.client.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == allowed
        assert allowed in (await response.json())["detail"]


async def test_the_unexpected_is_a_bare_500_and_logged_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    @web.middleware
    async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise RuntimeError("SELECT secret FROM /etc/passwd")

    served = await serve(middlewares=[broken])
    with caplog.at_level(logging.ERROR):
        assert await served.get("/handlers/some-id") == (500, {"detail": "Internal server error"})
    assert [record.getMessage() for record in caplog.records] == ["GET /handlers/{handler_id} failed"]
    assert "SELECT secret" in (caplog.text)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()])
async def test_a_users_middleware_does_not_end_the_server(serve: Serve, raised: BaseException) -> None:
    @web.middleware
    async def ending(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/workflows":
            raise raised
        return await handler(request)

    # Connections that a server has made itself belong to it.
    within = contained.set(ending)
    try:
        served = await serve(middlewares=[ending])
    finally:
        contained.reset(within)
    for _ in range(2):
        with pytest.raises(ClientConnectionError):
            await served.get("/workflows")
        assert (await served.get("/health"))[0] == 200


async def test_what_a_users_middleware_refuses_is_json_with_its_headers(serve: Serve) -> None:
    @web.middleware
    async def refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise web.HTTPPaymentRequired(text="Pay first.", headers={"X-Price": "1"})

    served = await serve(middlewares=[refusing])
    async with served.client.get("/workflows") as response:
        assert (response.status, await response.json()) == (402, {"detail": "Pay first."})
        assert response.headers["X-Price"] == "1"


async def test_a_redirect_of_a_users_middleware_stays_one(serve: Serve) -> None:
    @web.middleware
    async def redirecting(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise web.HTTPFound("/elsewhere")

    served = await serve(middlewares=[redirecting])
    async with served.client.get("/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")
        assert response.content_type != "application/json"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidBody("x"), 400),
        (InvalidEvent("x"), 400),
        (ContextRefused(), 400),
        (WorkflowNotFound("x"), 404),
        (HandlerNotRunning("x", "failed"), 404),
        (RunAlreadyEnded("x", "failed"), 409),
        (QueueTaken("x", 1), 409),
        (RunSuspended("x", "y"), 409),
        (errors.KeyReused(), 422),
        (errors.ShuttingDown(), 503),
        (errors.StoreUnavailable("x"), 503),
        (errors.CommitUnknown("x"), 503),
        (errors.StoreClosed(), 503),
        (errors.StorageFull(), 507),
        (errors.UnitRefused("x"), 413),
        (errors.ResumeFailed("x"), 500),
        (ValueError("x"), 500),
    ],
)
def test_each_error_has_its_status(error: Exception, status: int) -> None:
    assert status_of(error) == error_response(error).status == status


def test_each_error_that_a_request_can_cause_has_a_status() -> None:
    bases = (errors.RequestRefused, errors.StorageError, errors.ShuttingDown)
    kinds = [kind for kind in every_error() if issubclass(kind, bases)]
    assert len(kinds) > 40
    for kind in kinds:
        assert status_of(kind.__new__(kind)) != 500


@pytest.mark.parametrize(
    "kind", [errors.StoreUnavailable, errors.CommitUnknown, errors.ListenerFailed, errors.UnitRefused]
)
def test_the_stores_own_reasons_stay_inside(kind: type[errors.StoreUnavailable]) -> None:
    answer = error_response(kind("INSERT INTO events failed in /srv/data.db"))
    assert answer.body is not None
    assert b"INSERT" not in bytes(answer.body) and b"/srv" not in bytes(answer.body)  # type: ignore[arg-type] # noqa: PT018


async def test_head_is_answered_like_get_without_a_body(served: Served) -> None:
    for path in ("/health", "/workflows", "/", "/openapi.json"):
        async with served.client.head(path) as response:
            assert response.status == 200
            assert await response.read() == b""


async def test_health_says_what_is_wrong_and_not_where_the_files_lie(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    (tmp_path / "db").unlink()
    assert (await served.post("/workflows/echo/run"))[0] == 503
    status, answer = await served.get("/health")
    assert status == 503
    assert "'the database' was deleted" in answer["detail"]
    assert str(tmp_path) not in answer["detail"]


@pytest.mark.parametrize("character", ["x", "\u6f22", "\U0001f600", "\x00", "\ud800"])
def test_an_error_is_one_line_of_visible_characters_and_2_kb(character: str) -> None:
    body = error_response(InvalidEvent(character * 1_000_000)).body
    assert isinstance(body, bytes)
    assert 1_900 < len(body) <= MAX_ANSWER == 2_000
    detail = json.loads(body)["detail"]
    assert detail.replace(" ", "").isprintable()
    assert detail.endswith("…")


async def test_no_value_of_a_request_comes_back_in_its_refusal(served: Served) -> None:
    canary = "canary-7f3"
    answers = [
        await served.get(f"/handlers?status={canary}"),
        await served.get(f"/events/x?after_sequence={canary}"),
        await served.get(f"/events/x?acquire_timeout={canary}"),
        await served.get(f"/events/x?sse={canary}&sse={canary}"),
        await served.get("/health", headers={"Host": canary}),
        await served.get("/health", headers={"Origin": f"https://{canary}"}),
        await served.post(f"/{canary}"),
        await served.post("/workflows/echo/run", json={"start_event": canary}),
        await served.post("/workflows/echo/run", json={"handler_id": {"a": canary}}),
        await served.post("/events/x", data=f'{{"event": 123456789012345678901234567890{canary}}}', headers=JSON_TYPE),
        await served.post("/events/x", json={"event": [canary]}),
    ]
    assert [(status, answer) for status, answer in answers if status not in (400, 403, 404)] == []
    assert [answer for _, answer in answers if canary in str(answer)] == []


async def test_what_is_no_utf_8_in_a_header_is_refused_in_json(served: Served) -> None:
    answer = await served.raw(b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: localhost\xff\r\n\r\n")
    assert answer.split()[1] == b"403"
    assert "host" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]


async def test_fields_that_are_not_valid_are_named_by_their_path(served: Served) -> None:
    async with served.client.post(
        "/workflows/count/run-nowait", json={"start_event": {"n": "x", "text": 1}}
    ) as response:
        assert response.status == 400
        answer = await response.json()
    assert [problem["path"] for problem in answer["errors"]] == [["start_event", "n"], ["start_event", "text"]]
    for problem in answer["errors"]:
        assert f"'{problem['path'][-1]}': {problem['message']}" in answer["detail"]
    status, answer = await served.post("/workflows/count/run-nowait", json={"tags": ["a", " b"]})
    assert (status, [problem["path"] for problem in answer["errors"]]) == (400, [["tags", 1]])
    handler_id = await served.start("ask")
    event = {"type": "Answered", "value": {}}
    status, answer = await served.post(f"/events/{handler_id}", json={"event": event})
    assert (status, answer["errors"]) == (400, [{"path": ["event", "text"], "message": "Field required"}])


def test_an_answer_names_as_many_fields_as_it_has_room_for() -> None:
    problems = tuple(errors.FieldProblem(("start_event", "\x1b" * 90, n), "\U0001f600" * 20) for n in range(10))
    body = error_response(InvalidEvent("wrong", problems)).body
    assert isinstance(body, bytes)
    assert len(body) <= MAX_ANSWER
    answer = json.loads(body)
    assert answer["detail"] == "wrong"
    assert 0 < len(answer["errors"]) < 10
    assert "\x1b" not in answer["errors"][0]["path"][1]
