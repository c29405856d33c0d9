"""File descriptors: each connection takes one, and so does everything else that the process does."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

ENOUGH = 65_536
"""Limit that is set even where fewer descriptors would do. It is no higher since some programs that a step may start
walk through all numbers below it."""
RESERVED = 64
"""Descriptors that the store, the event loop and the log need, with some to spare."""
OTHER_CONNECTIONS = 8_192
"""Connections that are no streams: what they hold in memory is bounded, too."""


def connection_limit(max_streams: int) -> int:
    """Return how many connections may be open at a time, so that the store and the steps never lack a descriptor.

    The soft limit of the process is raised first, as far as it may be; a warning says where it stays too low for
    ``max_streams``.
    """
    files = _raised_limit(max_streams)
    limit = min(connections_under(files), max_streams + OTHER_CONNECTIONS)
    if limit < max_streams:
        logger.warning(
            "At most %d connections fit under the limit of %d open files, so that max_streams=%d cannot be reached: "
            "raise the limit (ulimit -Hn, or LimitNOFILE= of systemd)",
            limit,
            files,
            max_streams,
        )
    return limit


def connections_under(files: int) -> int:
    """The share of ``files`` that connections may take; a quarter of them at least is left to the steps."""
    return max(files - max(RESERVED, files // 4), files // 4)


def _raised_limit(max_streams: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(ENOUGH, 2 * (max_streams + OTHER_CONNECTIONS))
    raised = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft == resource.RLIM_INFINITY or soft >= raised:
        return wanted if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError) as error:
        logger.warning("The limit of %d open files could not be raised: %s", soft, error)
        return soft
    return raised
