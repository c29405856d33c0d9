"""Sessions of browsers: a cookie in the place of a token, for pages, whose ``EventSource`` cannot send headers.

They are kept in memory, by the hash of their cookie: so that one that is ended is over, also where its cookie was
copied, and none can be made from the file of tokens. A restart of the server ends all of them.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from workflow_server.web.access.token_file import digest_of
from workflow_server.web.access.tokens import Tokens
from workflow_server.web.roles import Token

LIFETIME = 43_200
"""Seconds of a session: a working day, whatever happens in it."""
MOST_OF_A_TOKEN = 100
"""Sessions of one token; one more ends the oldest of them."""


class Session(NamedTuple):
    """A session that is open."""

    token: Token
    expires_at: float
    """In seconds since the epoch."""


class Sessions:
    """The open sessions. Each ends with its token."""

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._clock = clock
        self._of_tokens: dict[bytes, OrderedDict[bytes, float]] = {}
        self._token_of: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._token_of)

    def begin(self, token: Token) -> tuple[str, Session]:
        """Begin a session; returns the secret of its cookie, too."""
        self._forget_tokens()
        now = self._clock()
        secret = secrets.token_urlsafe(32)
        own = self._of_tokens.setdefault(token.digest, OrderedDict())
        if len(own) >= MOST_OF_A_TOKEN:
            self.end(next(iter(own)))
        session = Session(token, now + LIFETIME)
        digest = digest_of(secret.encode())
        self._of_tokens.setdefault(token.digest, own)[digest] = session.expires_at
        self._token_of[digest] = token.digest
        return secret, session

    def find(self, digest: bytes) -> Session | None:
        """Return the session whose cookie has this hash; None where it is over, or never was."""
        of_token = self._token_of.get(digest)
        if of_token is None:
            return None
        token = self._tokens.get(of_token)
        expires_at = self._of_tokens[of_token][digest]
        now = self._clock()
        if token is None or token.has_expired(now) or now >= expires_at:
            self.end(digest)
            return None
        return Session(token, expires_at)

    def end(self, digest: bytes) -> None:
        """End the session whose cookie has this hash, if there is one."""
        of_token = self._token_of.pop(digest, None)
        if of_token is not None:
            own = self._of_tokens[of_token]
            del own[digest]
            if not own:
                del self._of_tokens[of_token]

    def _forget_tokens(self) -> None:
        """End the sessions of tokens that are not known any more."""
        for of_token in [digest for digest in self._of_tokens if self._tokens.get(digest) is None]:
            for digest in list(self._of_tokens.get(of_token, ())):
                self.end(digest)
