"""The file of tokens: edits that lose nothing, and files that are refused."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from workflow_server.web.access.token_file import add_token, read_token_file, revoke_token
from workflow_server.web.exceptions import TokenFileError

DIGEST = "0" * 64
GOOD = f'{{"name": "a", "role": "run", "sha256": "{DIGEST}"}}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.jsonl"


def written(file: Path, text: str | bytes, mode: int = 0o600) -> Path:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return file


def refusal(file: Path) -> str:
    """The message with which the file is refused: one line."""
    with pytest.raises(TokenFileError) as refused:
        read_token_file(file)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def test_a_new_token_has_256_bits_and_only_its_hash_is_kept(file: Path) -> None:
    secrets = [add_token(file, f"team-{n}", "run") for n in range(3)]
    assert len(set(secrets)) == 3
    assert all(len(secret.removeprefix("wfs_")) == 43 for secret in secrets)
    assert not any(secret in file.read_text() or secret[4:] in file.read_text() for secret in secrets)
    assert [token.digest for token in read_token_file(file)] == [
        hashlib.sha256(secret.encode()).digest() for secret in secrets
    ]
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_an_umask_makes_the_file_no_wider(file: Path) -> None:
    before = os.umask(0)
    try:
        add_token(file, "a", "full")
        add_token(file, "b", "full")
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_edit_keeps_remarks_other_tokens_and_the_mode(file: Path) -> None:
    written(file, f"# for the night shift\n\n{GOOD}\n", 0o400)
    add_token(file, "b", "read", timedelta(days=30))
    revoke_token(file, "a")
    lines = file.read_text().splitlines()
    assert lines[:2] == ["# for the night shift", ""]
    [token] = read_token_file(file)
    assert (token.name, token.role, file.stat().st_mode & 0o777) == ("b", "read", 0o400)
    assert token.expires is not None
    assert token.created is not None
    assert token.expires - token.created == timedelta(days=30)


def test_a_last_line_without_its_end_is_not_joined_to_the_next(file: Path) -> None:
    written(file, GOOD)
    add_token(file, "b", "read")
    assert [token.name for token in read_token_file(file)] == ["a", "b"]


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\n", "a\nb", "\x1b[2J", "ä", "-a", ".a", "a" * 65, "write 0", 'a"', "a\x00", "a\u202e"]
)
def test_a_name_that_could_forge_a_line_is_refused(file: Path, name: str) -> None:
    with pytest.raises(TokenFileError, match="Invalid name"):
        add_token(file, name, "read")
    assert not file.exists()


def test_a_name_is_given_once_and_a_token_revoked_once(file: Path) -> None:
    add_token(file, "a", "read")
    before = file.read_bytes()
    with pytest.raises(TokenFileError, match="already"):
        add_token(file, "a", "full")
    with pytest.raises(TokenFileError, match="no token"):
        revoke_token(file, "b\x1b")
    assert file.read_bytes() == before
    revoke_token(file, "a")
    assert read_token_file(file) == []
    with pytest.raises(TokenFileError, match="No such file"):
        revoke_token(file.with_name("none"), "a")
    assert not file.with_name("none").exists()


@pytest.mark.parametrize(
    "line",
    [
        "secret-canary",
        '"secret-canary"',
        "[]",
        "{}",
        "[" * 5_000,
        f'{{"name": "a", "role": "secret-canary", "sha256": "{DIGEST}"}}',
        f'{{"name": "secret canary", "role": "run", "sha256": "{DIGEST}"}}',
        f'{{"name": "a\\n", "role": "run", "sha256": "{DIGEST}"}}',
        f'{{"name": "a", "role": "run", "sha256": "{DIGEST}", "expire": "2026-01-01T00:00:00Z"}}',
        f'{{"name": "a", "role": "run", "sha256": "{DIGEST}", "expires": "2026-01-01T00:00:00"}}',
        f'{{"name": "a", "role": "run", "sha256": "{DIGEST}", "expires": "tomorrow secret-canary"}}',
        f'{{"name": "a", "role": "run", "role": "full", "sha256": "{DIGEST}"}}',
        '{"name": "a", "role": "run", "sha256": "wfs_secret-canary"}',
        '{"name": "a", "role": "run", "token": "wfs_secret-canary"}',
        '{"secret-canary": 1}',
        f"{GOOD} {GOOD}",
        f"{GOOD}\n{GOOD}",
        f"{GOOD}\n{GOOD.replace('a', 'b', 1)}\n",
        b"\xff\xfe",
    ],
)
def test_a_wrong_line_is_told_by_its_number_and_not_quoted(file: Path, line: str | bytes) -> None:
    written(file, line)
    said = refusal(file)
    assert "canary" not in said
    assert DIGEST not in said
    assert "Line 1" in said or "Line 2" in said or "UTF-8" in said


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o606, 0o666, 0o777, 0o644])
def test_a_file_that_others_may_read_or_change_is_refused(file: Path, mode: int) -> None:
    written(file, GOOD, mode)
    assert "chmod 600" in refusal(file)
    with pytest.raises(TokenFileError, match="chmod 600"):
        add_token(file, "b", "read")
    assert file.read_text() == GOOD


def test_a_group_may_read_a_file_of_roots_alone(file: Path) -> None:
    written(file, GOOD, 0o640)
    if os.geteuid() == 0:
        assert len(read_token_file(file)) == 1
        os.chown(file, 65_534, 65_534)
    assert "chmod 600" in refusal(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files of other users")
def test_an_edit_by_root_leaves_the_file_to_the_servers_user(file: Path) -> None:
    written(file, GOOD)
    os.chown(file, 65_534, 65_533)
    add_token(file, "b", "read")
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65_534, 65_533, 0o600)


def test_what_is_not_a_file_is_refused_at_once(file: Path) -> None:
    os.mkfifo(file, 0o600)
    assert "not a regular file" in refusal(file)
    with pytest.raises(TokenFileError, match="not a regular file"):
        add_token(file, "a", "read")
    refusal(file.with_name("none"))
    for other in (file.parent, Path("/dev/zero"), Path("a\0b")):
        refusal(other)
        with pytest.raises(TokenFileError):
            add_token(other, "a", "read")
    huge = file.with_name("huge")
    written(huge, b"#" * (1 << 20) + b"#")
    assert "larger than 1 MiB" in refusal(huge)


def test_a_link_is_read_but_not_edited(file: Path) -> None:
    # Kubernetes mounts secrets as links, and replaces what they lead to.
    real = written(file.with_name("real"), GOOD)
    file.symlink_to(real)
    assert len(read_token_file(file)) == 1
    with pytest.raises(TokenFileError, match="symbolic link"):
        add_token(file, "b", "read")
    assert file.is_symlink()
    assert real.read_text() == GOOD


def test_a_full_file_takes_no_more_and_stays_as_it_is(file: Path) -> None:
    written(file, "#" * ((1 << 20) - 50) + "\n")
    before = file.read_bytes()
    with pytest.raises(TokenFileError, match="1 MiB"):
        add_token(file, "a", "read")
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_edits_at_once_are_all_kept(file: Path) -> None:
    def edit(who: str) -> None:
        for number in range(12):
            add_token(file, f"{who}-{number}", "read")
            if number % 2:
                revoke_token(file, f"{who}-{number}")

    with ThreadPoolExecutor() as threads:
        list(threads.map(edit, "abcd"))
    expected = {f"{who}-{number}" for who in "abcd" for number in range(0, 12, 2)}
    assert {json.loads(line)["name"] for line in file.read_text().splitlines()} == expected
    assert list(file.parent.iterdir()) == [file]
