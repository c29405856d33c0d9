"""The file of tokens: one JSON object a line, with the name, the role and the hash of a token.

A token has 256 random bits, so nobody can find it by trying: one round of SHA-256 keeps it as safe as a slow hash for
passwords would, and costs a request a microsecond. Lines that begin with ``#`` and empty lines are kept as they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from workflow_server.errors import InvalidBody
from workflow_server.printable import printable
from workflow_server.protocol.strict_json import parse_json
from workflow_server.web.exceptions import TokenFileError
from workflow_server.web.roles import Role, Token

PREFIX = "wfs_"
"""The beginning of a token, by which scanners of sources find one that was published; and none begins with a dash."""
RANDOM_BYTES = 32
LARGEST = 1 << 20
"""Bytes of a file, some 6,000 tokens."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
A_NAME = "1 to 64 letters, digits, '.', '_' and '-', the first a letter or a digit"


class _Line(BaseModel):
    """One token, as it stands in the file."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=rf"^{NAME.pattern}$")
    role: Role
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created: AwareDatetime | None = None
    expires: AwareDatetime | None = None

    def as_token(self) -> Token:
        return Token(self.name, self.role, bytes.fromhex(self.sha256), self.created, self.expires)


def digest_of(token: bytes) -> bytes:
    """Return the hash by which a token is known."""
    return hashlib.sha256(token).digest()


# -- Reading ---------------------------------------------------------------------------------------


def read_token_file(path: str | Path) -> list[Token]:
    """Return the tokens in the file.

    Raises:
        TokenFileError: it cannot be read, is not such a file, or others than its owner may read or write it. The
            message is one line, and quotes nothing of what the file holds.
    """
    shown = printable(str(path))
    with _failures(shown):
        # With O_NONBLOCK, the open of a pipe does not wait for the other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            return [token for _, token in _parsed(_content(file.fileno(), shown), shown) if token is not None]


@contextmanager
def _failures(shown: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        # ValueError stands for a path with a zero byte.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TokenFileError(f"The token file '{shown}' cannot be used: {reason}.") from error


def _content(descriptor: int, shown: str) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise TokenFileError(f"The token file '{shown}' is not a regular file.")
    if found.st_size > LARGEST:
        raise TokenFileError(f"The token file '{shown}' is larger than 1 MiB: expected one token a line.")
    if os.geteuid() not in (0, found.st_uid) and found.st_uid != 0:
        raise TokenFileError(f"The token file '{shown}' belongs to another user: expected the server's user or root.")
    # As PostgreSQL has it for its key: a group may read a file of root's, so that the server cannot change it.
    if found.st_mode & (0o037 if found.st_uid == 0 else 0o077):
        raise TokenFileError(
            f"Others can read or change the token file '{shown}': let only its owner do so (chmod 600)."
        )
    parts = []
    size = 0
    while size <= LARGEST and (part := os.read(descriptor, 65_536)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _parsed(content: bytes, shown: str) -> list[tuple[str, Token | None]]:
    """Return the lines, each with its token if it has one."""
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        raise TokenFileError(f"The token file '{shown}' is not UTF-8.") from None
    if lines[-1] == "":
        lines.pop()
    parsed: list[tuple[str, Token | None]] = []
    names: set[str] = set()
    digests: set[bytes] = set()
    for number, line in enumerate(lines, 1):
        where = f"Line {number} of the token file '{shown}'"
        token = None if not line.strip() or line.lstrip().startswith("#") else _token(line, where)
        if token is not None and (token.name in names or token.digest in digests):
            raise TokenFileError(f"{where} repeats the name or the hash of an earlier one.")
        if token is not None:
            names.add(token.name)
            digests.add(token.digest)
        parsed.append((line, token))
    return parsed


def _token(line: str, where: str) -> Token:
    try:
        return _Line.model_validate(parse_json(line)).as_token()
    except InvalidBody:
        reason = "expected a JSON object with name, role and sha256"
    except ValidationError as error:
        place = error.errors(include_url=False, include_input=False)[0]["loc"]
        known = place and place[0] in _Line.model_fields
        reason = f"its '{place[0]}' is missing or wrong" if known else "expected name, role, sha256, created, expires"
    # Outside of the handlers: their exceptions may quote the line, which may hold a token.
    raise TokenFileError(f"{where} is not valid: {reason}.")


# -- Editing ---------------------------------------------------------------------------------------


def add_token(path: Path, name: str, role: Role, lifetime: timedelta | None = None) -> str:
    """Make a token, write its hash to the file, and return it: nothing else has it. The file is made if there is none.

    Raises:
        TokenFileError: as ``read_token_file``; or the name is not ``A_NAME``, or is in the file.
    """
    if not NAME.fullmatch(name):
        raise TokenFileError(f"Invalid name of a token: expected {A_NAME}.")
    secret = f"{PREFIX}{secrets.token_urlsafe(RANDOM_BYTES)}"
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        expires = None if lifetime is None else now + lifetime
    except OverflowError:
        raise TokenFileError("Invalid lifetime of a token: expected less than some thousand years.") from None
    fields = {"name": name, "role": role, "sha256": digest_of(secret.encode()).hex(), "created": now.isoformat()}
    if expires is not None:
        fields["expires"] = expires.isoformat()

    def added(lines: Sequence[tuple[str, Token | None]]) -> list[str]:
        if any(token is not None and token.name == name for _, token in lines):
            raise TokenFileError(f"There is a token '{name}' already: take another name, or revoke it first.")
        return [*(line for line, _ in lines), json.dumps(fields)]

    _edit(path, added, create=True)
    return secret


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of the file.

    Raises:
        TokenFileError: as ``read_token_file``; or the file has no token of this name.
    """

    def left(lines: Sequence[tuple[str, Token | None]]) -> list[str]:
        kept = [line for line, token in lines if token is None or token.name != name]
        if len(kept) == len(lines):
            raise TokenFileError(f"There is no token '{printable(name, 100)}' in '{printable(str(path))}'.")
        return kept

    _edit(path, left, create=False)


def _edit(path: Path, change: Callable[[Sequence[tuple[str, Token | None]]], list[str]], *, create: bool) -> None:
    """Replace the file at once by what ``change`` makes of its lines; one edit at a time."""
    shown = printable(str(path))
    with _failures(shown), _locked(path, create=create) as descriptor:
        text = "".join(f"{line}\n" for line in change(_parsed(_content(descriptor, shown), shown)))
        found = os.fstat(descriptor)
        if len(text) > LARGEST:
            raise TokenFileError(f"The token file '{shown}' would be larger than 1 MiB: revoke old tokens first.")
        draft = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
        try:
            _write(draft, text.encode(), found)
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
        _sync_folder(path.parent)


@contextmanager
def _locked(path: Path, *, create: bool) -> Iterator[int]:
    """Yield a descriptor of the file that is under this name, and that nobody else edits meanwhile."""
    if path.is_symlink():
        # A link would be replaced, and what it leads to left as it is.
        raise TokenFileError(f"'{printable(str(path))}' is a symbolic link: name the file itself.")
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            mine = os.fstat(descriptor)
            with suppress(FileNotFoundError):
                if os.path.samestat(mine, os.stat(path, follow_symlinks=False)):
                    yield descriptor
                    return
            # Another edit has replaced it while this one waited.
        finally:
            os.close(descriptor)


def _write(draft: Path, content: bytes, like: os.stat_result) -> None:
    """Write a new file that belongs to the same user and group as the one that it replaces."""
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        made = os.fstat(descriptor)
        if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
