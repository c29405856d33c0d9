"""``ctx.store`` as a client may see it: as JSON of bounded size, without secrets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from workflow_server.execution.codec import Codec, Undecodable, unescaped
from workflow_server.execution.codec.names import NAMED
from workflow_server.execution.codec.showing import short_name
from workflow_server.execution.patches import Json, Patch, apply
from workflow_server.execution.state import ROOTS
from workflow_server.execution.workflow import ServedWorkflow

LARGEST_READ = 20_000_000
"""Bytes of a stored state that are read for it."""
MOST_PARTS = 400_000
"""Commas in these: to parse so many values keeps the interpreter for 50 ms, in which the event loop stands still."""
LARGEST_SHOWN = 990_000
"""Bytes of JSON after which the rest is left out; notes on what that is follow."""

_KEYS, _MODEL = ROOTS


class ShownState(NamedTuple):
    """A state as a client may see it."""

    text: str
    """A JSON object."""
    kind: str
    """``dict``, or the name of the class that the steps declare."""
    truncated: bool
    """Something was cut or left out for its size."""


def shown_state(served: ServedWorkflow | None, record: str | None, patches: Sequence[str]) -> ShownState:
    """Return the state that is stored in a record and the patches after it. It takes long: not for the event loop.

    Without its workflow, which is not registered, a dictionary can be shown, and a class that is loaded.

    Raises:
        ValueError: it cannot be read.
    """
    tree = _tree(served, record, [json.loads(patch) for patch in patches])
    showing = (Codec() if served is None else served.codec).showing(LARGEST_SHOWN)
    if _MODEL in tree:
        kind = short_name(tree[_MODEL].get("c"))
        state = showing.value(tree[_MODEL])
        if not isinstance(state, dict):
            raise Undecodable(f"its class '{kind}' is no longer in the code", remedy=NAMED)
    else:
        kind, values = "dict", tree[_KEYS]
        state = showing.named(((unescaped(key), value) for key, value in values.items()), len(values))
    return ShownState(json.dumps(state, ensure_ascii=False, separators=(",", ":")), kind, showing.truncated)


def _tree(served: ServedWorkflow | None, record: str | None, patches: Sequence[Patch]) -> Json:
    if served is not None:
        tree, _ = served.state_tree(record, patches)
        return served.empty_state if tree is None else tree
    stored = {"state": {_KEYS: {}}} if record is None else json.loads(record)
    if "state" not in stored:
        raise Undecodable("an early build wrote it, and its workflow is not registered")
    tree = stored["state"]
    for patch in patches:
        tree = apply(tree, patch)
    return tree
