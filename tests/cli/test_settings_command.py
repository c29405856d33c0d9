"""``workflow-server settings``, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import assert_one_line, run
from workflow_server.settings import Settings

TOKEN = "a-token-of-thirty-two-characters"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(f'port = 9001\nheartbeat = 2\nread_tokens = ["{TOKEN}"]\n')
    path.chmod(0o600)
    return path


def test_each_setting_is_printed_with_its_source_and_no_secret(file: Path) -> None:
    environment = {"WORKFLOW_SERVER_TOKENS": TOKEN, "WORKFLOW_SERVER_HEARTBEAT": "3"}
    options = ("--config", "server.toml", "--port", "9002", "--allowed-host", "[bold]a")
    done = run("settings", *options, cwd=file.parent, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    assert list(rows) == list(Settings.model_fields)
    assert rows["port"] == ["9002", "--port"]
    assert rows["allowed_hosts"] == ["[bold]a", "--allowed-host"]
    assert rows["heartbeat"] == ["3.0", "WORKFLOW_SERVER_HEARTBEAT"]
    assert rows["tokens"] == ["**********", "WORKFLOW_SERVER_TOKENS"]
    assert rows["read_tokens"] == ["**********", "server.toml"]
    assert rows["max_streams"] == ["1000", "default"]
    assert TOKEN not in done.stdout


def test_json_has_the_same_by_name(file: Path) -> None:
    done = run("settings", "--json", "--config", "server.toml", cwd=file.parent)
    settings = json.loads(done.stdout)
    assert settings["port"] == {"value": 9001, "source": "file", "name": "server.toml"}
    assert settings["read_tokens"] == {"value": ["**********"], "source": "file", "name": "server.toml"}
    assert settings["config"] == {"value": "server.toml", "source": "option", "name": "--config"}
    assert settings["db"] == {"value": "workflow_server.sqlite3", "source": "default", "name": None}


def test_a_wrong_setting_is_one_line_and_a_token_for_all_a_warning(file: Path) -> None:
    assert_one_line(run("settings", "--config", "none.toml", cwd=file.parent), "'none.toml' cannot be read")
    assert_one_line(run("serve", "x.py", "--config", "none.toml", cwd=file.parent), "'none.toml' cannot be read")
    assert_one_line(run("settings", "--port", "x", cwd=file.parent), "'port'")
    file.chmod(0o644)
    done = run("settings", "--config", "server.toml", cwd=file.parent)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert "chmod 600" in done.stderr
