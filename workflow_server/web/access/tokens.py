"""The tokens of a server: those in its settings, and those in its file of tokens."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from workflow_server.web.access.token_file import digest_of, read_token_file
from workflow_server.web.roles import Role, Token


class Tokens:
    """Finds a token by its hash.

    That takes no comparison in constant time: the time of a lookup could tell something of a hash only, and nobody can
    choose a token to have a given hash.

    Raises:
        TokenFileError: the file cannot be used.
    """

    def __init__(self, full: Sequence[SecretStr] = (), read: Sequence[SecretStr] = (), file: str | None = None) -> None:
        # A token that is in both may do everything.
        self._chosen = {**_chosen("read", "read", read), **_chosen("write", "full", full)}
        # A step may change the current folder before the file is read again.
        self._file = None if file is None else os.path.abspath(file)
        self._known: Mapping[bytes, Token] = self._chosen
        self._loading = threading.Lock()
        self.load()

    @property
    def number(self) -> int:
        """Return how many tokens there are."""
        return len(self._known)

    @property
    def file(self) -> str | None:
        """Return the path of the file of tokens, if there is one."""
        return self._file

    def load(self) -> None:
        """Read the file again.

        Raises:
            TokenFileError: it cannot be used; the tokens are what they were.
        """
        if self._file is None:
            return
        # Of two reads at once, the earlier must not come last: a token that was revoked between them would be back.
        with self._loading:
            self._known = {**{token.digest: token for token in read_token_file(self._file)}, **self._chosen}

    def find(self, secret: bytes) -> Token | None:
        """Return the token, expired or not; None where it is not known."""
        return self._known.get(digest_of(secret))

    def get(self, digest: bytes) -> Token | None:
        """Return the token with this hash; None where it is not known any more."""
        return self._known.get(digest)


def _chosen(name: str, role: Role, secrets: Sequence[SecretStr]) -> dict[bytes, Token]:
    found: dict[bytes, Token] = {}
    for number, secret in enumerate(secrets):
        digest = digest_of(secret.get_secret_value().encode())
        found.setdefault(digest, Token(f"{name} {number}", role, digest, is_generated=False))
    return found
