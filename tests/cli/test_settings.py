"""Settings: where a value comes from, and what a value may be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workflow_server import settings as settings_module
from workflow_server.errors import SettingsError
from workflow_server.settings import ENV_PREFIX, Settings, command_options, is_loopback

TOKEN = "a-token-of-thirty-two-characters"


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{ENV_PREFIX}{name.upper()}", raising=False)
    monkeypatch.setattr(settings_module, "_tokens_taken", {})


def test_options_win_over_the_environment_which_wins_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SERVER_PORT", "9001")
    monkeypatch.setenv("WORKFLOW_SERVER_HEARTBEAT", "3")

    settings = Settings.load({"port": "9002"})

    assert (settings.port, settings.heartbeat, settings.db) == (9002, 3.0, "workflow_server.sqlite3")


def test_settings_of_user_code_obey_the_command_line() -> None:
    with command_options({"port": "9003", "heartbeat": "2"}):
        assert (Settings().port, Settings(port=9004).port, Settings(port=9004).heartbeat) == (9003, 9004, 2.0)
    assert Settings().port == 8080


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().port = 1  # type: ignore[misc]


def test_lists_come_from_the_environment_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SERVER_TOKENS", f"{TOKEN}, {TOKEN}-2")
    monkeypatch.setenv("WORKFLOW_SERVER_ALLOWED_HOSTS", "flows.example.org,flows")
    monkeypatch.setenv("WORKFLOW_SERVER_PERSISTENCE_BACKOFF", "0.1, 0.2,0.3")

    settings = Settings.load()

    assert [token.get_secret_value() for token in settings.tokens] == [TOKEN, f"{TOKEN}-2"]
    assert settings.allowed_hosts == ("flows.example.org", "flows")
    assert settings.persistence_backoff == (0.1, 0.2, 0.3)


def test_an_origin_is_written_as_browsers_do() -> None:
    origins = Settings.load({"cors_origins": "HTTPS://App.Example.org, http://localhost:3000,http://[::1]:443"})
    assert origins.cors_origins == ("https://app.example.org", "http://localhost:3000", "http://[::1]:443")


@pytest.mark.parametrize("name", ["tokens", "read_tokens"])
def test_tokens_leave_the_environment_and_later_servers_have_them(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}{name}".upper(), TOKEN)
    monkeypatch.setenv("WORKFLOW_SERVER_PORT", "9001")
    first, second = Settings.load(), Settings.load({"port": 9002})
    inherited = [sys.executable, "-c", "import os; print(dict(os.environ))"]
    child = subprocess.run(inherited, capture_output=True, text=True, check=True).stdout
    assert TOKEN not in child
    assert "WORKFLOW_SERVER_PORT" in child
    for settings in (first, second):
        assert [token.get_secret_value() for token in getattr(settings, name)] == [TOKEN]
    monkeypatch.setenv(f"{ENV_PREFIX}{name}".upper(), f"{TOKEN}-3")
    assert [token.get_secret_value() for token in getattr(Settings.load(), name)] == [f"{TOKEN}-3"]


def test_an_empty_variable_sets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SERVER_TOKENS", "")
    assert Settings.load().tokens == ()


def test_tokens_never_show_in_what_is_printed() -> None:
    settings = Settings.load({"tokens": TOKEN})
    assert TOKEN not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize("never", ["0", 0, None])
def test_an_idle_timeout_of_nothing_means_never(never: object) -> None:
    assert Settings.load({"idle_timeout": never}).idle_timeout is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "eighty"),
        ("port", 65_536),
        ("port", -1),
        ("host", ""),
        ("host", "127.0.0.1/x"),
        ("db", ""),
        ("max_body", 10),
        ("heartbeat", 0),
        ("heartbeat", "nan"),
        ("write_timeout", "inf"),
        ("grace_period", -1),
        ("idle_timeout", -1),
        ("send_buffer", 1),
        ("max_streams", 0),
        ("max_attempts", 0),
        ("persistence_backoff", "1,-1"),
        ("log_level", "loud"),
        ("cors_origins", "*"),
        ("cors_origins", "https://app.example.org/path"),
        ("cors_origins", "app.example.org"),
        ("cors_origins", "https://"),
        ("cors_origins", "https://:443"),
        ("cors_origins", "https://app.example.org:443"),
        ("cors_origins", "http://app.example.org:80"),
        ("cors_origins", "https://app.example.org:99999"),
        ("cors_origins", "https://app.example.org:"),
        ("cors_origins", "https://user@app.example.org"),
        ("cors_origins", "https://\u00e4pp.example.org"),
        ("db", "runs\0.sqlite3"),
        ("tokens", ","),
        ("tokens", " "),
        ("tokens", f"{TOKEN}, ,{TOKEN}"),
        ("read_tokens", f"{TOKEN},"),
        ("tokens", "short"),
        ("tokens", "sixteen characters"),
        ("insecure", "perhaps"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_setting(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load({name: value})

    message = str(refused.value)
    assert f"'{name}'" in message
    assert f"WORKFLOW_SERVER_{name.upper()}" in message
    assert "\n" not in message


def test_a_refused_token_is_not_repeated_in_the_message() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load({"tokens": "secret"})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "flows.example.org"])
def test_a_host_that_others_reach_needs_a_token_or_the_flag(host: str) -> None:
    with pytest.raises(SettingsError, match="WORKFLOW_SERVER_TOKENS"):
        Settings.load({"host": host})

    protected: list[dict[str, Any]] = [{"tokens": TOKEN}, {"read_tokens": TOKEN}, {"insecure": True}]
    for options in protected:
        assert Settings.load({"host": host, **options}).host == host


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.example.org")),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


RETAINED = {"completed": 30 * 86_400.0, "failed": 7 * 86_400.0}


@pytest.mark.parametrize(
    "value",
    [
        "completed=30d,failed=1w",
        " failed = 1w , completed = 30d ",
        ("completed=30d", "failed=168h"),
        ["completed=30d,failed=1w"],
        {"failed": "1w", "completed": "30d"},
    ],
)
def test_ages_are_given_as_a_list_or_a_table(value: object) -> None:
    assert Settings.load({"retain": value}).retained == RETAINED


@pytest.mark.parametrize(
    "value",
    [
        "completed",
        "running=30d",
        "completed=0d",
        "completed=1y",
        "completed=-1d",
        "completed=1d,completed=2d",
        "=",
        3,
        {"completed": 3},
        {3: "3d"},
        [3],
        {"completed": ["3d"]},
        {"failed": None},
    ],
)
def test_what_is_no_age_of_a_status_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(SettingsError, match="completed=30d,failed=90d") as refused:
        Settings.load({"retain": value})
    assert "\n" not in str(refused.value)


def test_without_ages_everything_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings.load().retained, Settings.load().retain_runs) == ({}, None)
    monkeypatch.setenv("WORKFLOW_SERVER_RETAIN", "")
    assert Settings.load().retained == {}
    monkeypatch.setenv("WORKFLOW_SERVER_RETAIN", "completed=30d,failed=1w")
    assert Settings.load().retained == RETAINED


def test_ages_stand_in_a_file_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("retain_runs = 10\n[retain]\ncompleted = '30d'\nfailed = '1w'\n")
    settings = Settings.load({"config": str(file)})
    assert (settings.retained, settings.retain_runs) == (RETAINED, 10)
    file.write_text("retain = 'completed=1'")
    with pytest.raises(SettingsError, match=r"settings\.toml': expected a status and an age"):
        Settings.load({"config": str(file)})
