"""Events as clients read them, encoded once."""

from __future__ import annotations

import json
from functools import lru_cache

from pydantic import BaseModel

from workflow_server.protocol.events import event_base_names
from workflow_server.runtime.journal import encode_event


def envelope(event: BaseModel) -> str:
    """The read envelope of an event, as JSON.

    Raises:
        Unstorable: a value of the event is no JSON; the message names the field.
    """
    return f'{{"value":{encode_event(event)},{_type_of(type(event))}}}'


@lru_cache(maxsize=4096)
def _type_of(kind: type[BaseModel]) -> str:
    types = list(event_base_names(kind)) or None
    fields = {"type": kind.__name__, "types": types, "qualified_name": f"{kind.__module__}.{kind.__name__}"}
    return json.dumps(fields, separators=(",", ":"))[1:-1]
