"""Readiness: the reason for which the server takes no work at present.

Anybody may ask for it, without a token: the reasons are fixed sentences, which quote neither the store nor its files.
"""

from __future__ import annotations

from workflow_server.errors import StorageFull, StoreClosed

STARTING = "The server is starting: the runs of before are not resumed yet."
STOPPING = "The server is shutting down."
FULL = "The disk is full."
FAILING = "The store cannot commit."
FAILED = "The store failed, and the server stops."


def why_not_ready(problem: str | None, *, has_resumed: bool, is_closing: bool) -> str | None:
    """Return why no work is taken, None where it is. ``problem`` is that of the store."""
    if problem == str(StorageFull()):
        return FULL
    failing = problem not in (None, str(StoreClosed()))
    if is_closing:
        return FAILED if failing else STOPPING
    if not has_resumed:
        return STARTING
    # A store that was closed under its server cannot commit either.
    return None if problem is None else FAILING
