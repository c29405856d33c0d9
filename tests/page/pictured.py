"""The server of the pictures: the examples, and an import that fails in one of its steps."""

import sys
from pathlib import Path

from workflows import Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.retry_policy import ConstantDelayRetryPolicy

sys.path.append(str(Path(__file__).parents[2] / "examples"))

from document_review import document_review
from hello import hello
from nightly_batch import nightly_batch

__all__ = ["document_review", "hello", "nightly_batch", "order_import"]

ROWS = [{"number": 1, "customer": "Lovelace"}, {"number": 2, "customer": "Hopper"}, {"number": 3}]


class Row(Event):
    """A row of the file."""

    fields: dict


class OrderImport(Workflow):
    """Reads a file of orders, of which one row lacks its customer."""

    @step
    async def read_file(self, ev: StartEvent) -> Row:
        return Row(fields=ROWS[-1])

    @step(retry_policy=ConstantDelayRetryPolicy(maximum_attempts=3, delay=0.2))
    async def read_row(self, ev: Row) -> StopEvent:
        return StopEvent(result=ev.fields["customer"])


order_import = OrderImport()
