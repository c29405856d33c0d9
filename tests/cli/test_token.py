"""``workflow-server token``, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_cli import assert_one_line, run
from workflow_server.web.access.tokens import Tokens


def test_a_token_is_printed_once_listed_by_name_and_revoked(tmp_path: Path) -> None:
    made = run("token", "new", "--name", "team-a", "--role", "run", "--expires", "30d", "--file", "t", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    [secret] = made.stdout.splitlines()
    assert secret not in made.stderr
    assert "SIGHUP" in made.stderr
    found = Tokens(file=str(tmp_path / "t")).find(secret.encode())
    assert found is not None
    assert (found.name, found.role) == ("team-a", "run")

    listed = run("token", "list", cwd=tmp_path, WORKFLOW_SERVER_TOKEN_FILE="t")
    assert listed.stdout.splitlines()[1].split()[:2] == ["team-a", "run"]
    described = json.loads(run("token", "list", "--file", "t", "--json", cwd=tmp_path).stdout)
    assert [(token["name"], token["role"], token["expires"] is not None) for token in described] == [
        ("team-a", "run", True)
    ]
    for text in (listed.stdout, json.dumps(described)):
        assert secret not in text
        assert found.digest.hex() not in text

    assert run("token", "revoke", "team-a", "--file", "t", cwd=tmp_path).returncode == 0
    assert_one_line(run("token", "revoke", "team-a", "--file", "t", cwd=tmp_path), "no token 'team-a'")


def test_what_is_wrong_is_one_line_and_makes_no_file(tmp_path: Path) -> None:
    assert_one_line(
        run("token", "new", "--name", "a b", "--role", "run", "--file", "t", cwd=tmp_path), "Invalid name of a token"
    )
    for options in (("--role", "admin"), ("--role", "run", "--expires", "soon"), ("--role", "run", "--expires", "0d")):
        done = run("token", "new", "--name", "a", *options, "--file", "t", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
    done = run("token", "new", "--name", "a", "--role", "run", "--expires", "999999999w", "--file", "t", cwd=tmp_path)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    assert run("token", "list", cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []
