"""The limit of file descriptors, shared by connections and everything else in the process."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

ENOUGH = 65_536
"""The limit that is set though fewer descriptors would do. It is not higher because some programs that steps start loop
over all numbers below it."""
RESERVED = 64
"""Descriptors for the store, the event loop and the log, with a margin."""
OTHER_CONNECTIONS = 8_192
"""Connections other than streams; their memory is bounded, too."""


def connection_limit(max_streams: int) -> int:
    """Return the number of connections that leaves enough descriptors for the store and the steps.

    Raises the soft limit of the process first, and warns where the hard limit is too low for ``max_streams``.
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
    """Return the share of ``files`` for connections; at least a quarter is left to the steps."""
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
