"""``ctx.store`` as it was at an earlier tick of a run, without what its failed attempts had written."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from workflow_server.execution.exceptions import JournalUnreadable
from workflow_server.execution.patches import Json, Patch
from workflow_server.execution.workflow import ServedWorkflow
from workflow_server.records import StatePatched, StateReplaced, StoredRun

NOT_KEPT = "what ctx.store held then is not kept; name a later step"


def check_dated(stored: StoredRun, last: int) -> None:
    """Check that the changes of ``ctx.store`` up to the tick ``last`` can be told from those after it: older builds did
    not note with which tick they wrote one.

    Raises:
        JournalUnreadable: they cannot.
    """
    changes: list[StateReplaced | StatePatched] = [*stored.patches]
    if stored.state is not None:
        changes.append(stored.state)
    # All that an older build wrote comes before what is dated.
    is_known = any(0 <= change.tick <= last for change in changes)
    if stored.code_version is None and not is_known and any(change.tick < 0 for change in changes):
        raise JournalUnreadable(NOT_KEPT)


def state_at(served: ServedWorkflow, stored: StoredRun, last: int, dropped: Collection[int]) -> str | None:
    """Return the record of ``ctx.store`` after the tick ``last``, without what was written with the ``dropped`` ones:
    they are results of failed attempts.

    Raises:
        ValueError: it cannot be read any more.
        JournalUnreadable: it was written in full since, so that it is not known.
    """
    record = stored.state
    if record is not None and record.tick > last:
        if record.seq >= 0:
            raise JournalUnreadable(NOT_KEPT)
        # The first record of a state, in full: before it there was none.
        return None
    stored_patches = [patch for patch in stored.patches if patch.tick <= last]
    written = _by_attempts(record, stored_patches, dropped)
    patches: list[Patch] = [json.loads(patch.patch) for patch in stored_patches]
    left_out = {place for place, patch in enumerate(stored_patches) if patch.seq in written}
    if record is not None and record.seq < 0 and record.seq in written:
        if len(left_out) == len(patches):
            return None
        tree, _ = served.state_tree(record.data, [])
        patches.insert(0, served.changes_to(tree))
        left_out = {0, *(place + 1 for place in left_out)}
        record = None
    elif record is None and len(left_out) == len(patches):
        return None
    tree, _ = served.state_tree(None if record is None else record.data, patches, left_out)
    if tree is None:
        return None
    # Refused here, rather than when the run is loaded.
    served.state_store(tree, unattended=_nowhere)
    return served.state_record(tree)


def _by_attempts(
    record: StateReplaced | None, patches: Sequence[StatePatched], dropped: Collection[int]
) -> Collection[int]:
    """Return the numbers of the changes that these attempts made: of each the first with its tick.

    Those that follow were made after it, by tasks that had outlived their steps. Where the attempt itself wrote
    nothing, one of them is empty.
    """
    idle = {patch.tick for patch in patches if not json.loads(patch.patch)} if dropped else set()
    changes: list[StateReplaced | StatePatched] = [*patches] if record is None else [record, *patches]
    first: dict[int, int] = {}
    for change in changes:
        if change.tick in dropped and change.tick not in idle:
            first.setdefault(change.tick, change.seq)
    return first.values()


def _nowhere(patch: Json) -> None:
    raise AssertionError(f"nothing is written to a state that is only read: {patch}")
