"""Settings from a file: their place among the sources, and one line for whatever is wrong with the file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from workflow_server import WorkflowServer
from workflow_server import settings as settings_module
from workflow_server.errors import SettingsError
from workflow_server.settings import ENV_PREFIX, Settings, command_options, origins

TOKEN = "a-token-of-thirty-two-characters"


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{ENV_PREFIX}{name.upper()}", raising=False)
    monkeypatch.setattr(settings_module, "_tokens_taken", {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server.toml"


def refusal(path: Path | str) -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.load({"config": str(path)})
    message = str(refused.value)
    assert "\n" not in message
    return message


def written(path: Path, text: str, mode: int) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_file_wins_over_the_defaults_alone(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text("port = 9001\nheartbeat = 2\nmax_streams = 7\n")
    monkeypatch.setenv("WORKFLOW_SERVER_CONFIG", str(file))
    monkeypatch.setenv("WORKFLOW_SERVER_HEARTBEAT", "3")

    settings = Settings.load({"port": "9002"})

    assert (settings.port, settings.heartbeat, settings.max_streams, settings.db) == (
        9002,
        3.0,
        7,
        "workflow_server.sqlite3",
    )
    found = origins({"port": "9002"})
    assert [found[name].source for name in ("port", "heartbeat", "max_streams", "db")] == [
        "option",
        "environment",
        "file",
        "default",
    ]
    assert (found["heartbeat"].name, found["max_streams"].name) == ("WORKFLOW_SERVER_HEARTBEAT", str(file))


def test_settings_of_user_code_read_the_file_of_the_command_line(file: Path) -> None:
    file.write_text("port = 9003")
    with command_options({"config": str(file)}):
        assert (Settings().port, Settings(port=9004).port) == (9003, 9004)
        assert origins({})["port"].source == "file"
    assert Settings().port == 8080


def test_a_file_holds_values_of_each_type(file: Path) -> None:
    file.write_text(
        f'host = "::1"\ninsecure = true\nidle_timeout = 0\nheartbeat = 2.5\nlog_level = "INFO"\n'
        f'allowed_hosts = ["a", "b"]\npersistence_backoff = [1, 0.5]\ntokens = ["{TOKEN}"]\n'
    )
    settings = Settings.load({"config": str(file)})
    assert (settings.host, settings.insecure, settings.idle_timeout) == ("::1", True, None)
    assert (settings.heartbeat, settings.log_level, settings.allowed_hosts) == (2.5, "info", ("a", "b"))
    assert settings.persistence_backoff == (1.0, 0.5)
    assert [token.get_secret_value() for token in settings.tokens] == [TOKEN]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('port = "8080"', "expected a whole number"),
        ("port = true", "expected a whole number"),
        ("port = 8080.0", "expected a whole number"),
        ("port = 1979-05-27", "expected a whole number"),
        ("port = [1]", "expected a whole number"),
        ("insecure = 1", "expected true or false"),
        ('heartbeat = "2"', "expected a number"),
        ("idle_timeout = false", "expected a number"),
        ("host = 1", "expected a text"),
        ("log_level = 1", "expected a text"),
        ('allowed_hosts = "a,b"', "expected a list"),
        ("allowed_hosts = [1]", "expected a list"),
        ('persistence_backoff = "0.5,3"', "expected a list"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name_and_file(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    message = refusal(file)
    assert said in message
    assert f"'{text.partition(' ')[0]}' in '{file}'" in message


@pytest.mark.parametrize("text", ["port = 99999", "heartbeat = nan", 'log_level = "loud"', 'cors_origins = ["*"]'])
def test_a_value_out_of_bounds_is_refused_by_name_and_file(file: Path, text: str) -> None:
    file.write_text(text)
    assert f"'{text.partition(' ')[0]}' in '{file}'" in refusal(file)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("prot", "Did you mean 'port'?"),
        ("max-body", "Did you mean 'max_body'?"),
        ("[server]\nport", "'workflow-server settings' lists the names"),
        ("config", "cannot name another"),
    ],
)
def test_an_unknown_key_is_refused_with_a_hint(file: Path, key: str, said: str) -> None:
    file.write_text(f"{key} = 1")
    assert said in refusal(file)


@pytest.mark.parametrize("text", [f"tokens = ['{TOKEN}", f"tokens = {TOKEN}", f"tokens = ['short-{TOKEN[:5]}']"])
def test_a_refusal_tells_nothing_of_a_token(file: Path, text: str) -> None:
    file.write_text(text)
    assert TOKEN[:5] not in refusal(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"port = ", "not valid TOML"),
        (b"port = " + b"1" * 5_000, "not valid TOML"),
        (b"port = 1\nport = 2\n", "line 2"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * (1 << 20) + b"#", "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_not_of_settings_is_refused(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    assert said in refusal(file)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.toml")
    assert "directory" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "cannot be read" in refusal("a\0b")
    assert "'config'" in refusal("")


@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o644, f"tokens = ['{TOKEN}']", True),
        (0o644, f"read_tokens = ['{TOKEN}']", True),
        (0o640, f"tokens = ['{TOKEN}']", False),
        (0o644, "port = 0", False),
    ],
)
async def test_a_token_in_a_file_that_others_read_is_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture, mode: int, text: str, warned: bool
) -> None:
    settings = Settings.load({"config": written(file, text, mode), "db": str(file.with_name("runs.sqlite3"))})
    with caplog.at_level(logging.WARNING, "workflow_server.server"):
        async with WorkflowServer(settings=settings).contextmanager():
            pass
    assert (str(file) in caplog.text) is warned
    assert TOKEN not in caplog.text
