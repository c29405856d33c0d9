r"""A nightly batch over an unreliable gateway, made to be killed.

It posts the invoices of examples/data/invoices.csv to a ledger, an ordinary file outside the database. The gateway in
between drops some calls, which are made again after a pause; some invoices are wrong, and are listed in the end.
Start the server in one terminal (``workflow-server serve examples/nightly_batch.py``), and in another:

    $ HANDLER=$(curl -s -H 'Content-Type: application/json' localhost:8080/workflows/nightly_batch/run-nowait \
        -d '{"start_event": {"day": "2026-03-31", "pause": 0.1}}' \
        | python3 -c 'import json,sys; print(json.load(sys.stdin)["handler_id"])')
    $ curl -sN "localhost:8080/events/$HANDLER?sse=false&after_sequence=-1" | tail -n 1

While it runs, kill the server with -9 and start it again, more than once. Each invoice stands in the ledger once: a
posting that was under way is made again with the same reference, and the ledger knows it.
"""

from __future__ import annotations

import asyncio
import csv
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from ledger import Entry, Ledger
from pydantic import Field
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_if_exception_type, retry_policy, stop_after_attempt, wait_fixed

INVOICES = Path(__file__).parent / "data" / "invoices.csv"


class GatewayDownError(Exception):
    """The gateway dropped the call."""


class InvalidInvoiceError(Exception):
    """The invoice cannot be posted, however often it is retried."""


class Batch(StartEvent):
    """The day whose invoices are to be posted; ``pause`` is the time in seconds that the gateway takes for a call."""

    day: str = Field("2026-03-31", pattern=r"^\d{4}-\d{2}-\d{2}$")
    pause: float = Field(0.25, ge=0, le=60)


class InvoiceDue(Event):
    """One line of the file, to be posted."""

    number: str
    customer: str
    amount: str
    day: str
    pause: float


class InvoiceSettled(Event):
    """The outcome of one invoice; also published, for clients that follow the run."""

    number: str
    amount: str | None = None
    tries: int
    rejected: str | None = None


class Rejected(NamedTuple):
    """An invoice that was not posted, and why."""

    number: str
    reason: str


class BatchDone(StopEvent):
    """The night's result."""

    posted: int
    total: str
    tries: int
    rejected: list[Rejected]


class NightlyBatch(Workflow):
    """Read the invoices, post them side by side, list what was rejected."""

    @step
    async def read(self, ev: Batch) -> list[InvoiceDue]:
        rows = await asyncio.to_thread(_read_invoices)
        return [InvoiceDue(**row, day=ev.day, pause=ev.pause) for row in rows]

    @step(
        num_workers=3,
        retry_policy=retry_policy(
            retry=retry_if_exception_type(GatewayDownError), wait=wait_fixed(0.2), stop=stop_after_attempt(5)
        ),
    )
    async def post(self, ctx: Context, ev: InvoiceDue) -> InvoiceSettled:
        retries = ctx.retry_info().retry_number
        await _call_gateway(ev, retries)
        amount = _amount(ev)
        entry = Entry(reference=f"{ev.day}/{ev.number}", customer=ev.customer, amount=str(amount))
        await asyncio.to_thread(Ledger.from_environment().post, entry)
        settled = InvoiceSettled(number=ev.number, amount=str(amount), tries=retries + 1)
        ctx.write_event_to_stream(settled)
        return settled

    @catch_error(for_steps=["post"])
    async def reject(self, ctx: Context, ev: StepFailedEvent) -> InvoiceSettled:
        assert isinstance(ev.input_event, InvoiceDue)
        settled = InvoiceSettled(number=ev.input_event.number, tries=ev.attempts, rejected=str(ev.exception))
        ctx.write_event_to_stream(settled)
        return settled

    @step
    async def close(self, ev: list[InvoiceSettled]) -> BatchDone:
        invoices = sorted(ev, key=lambda invoice: invoice.number)
        amounts = [Decimal(invoice.amount) for invoice in invoices if invoice.amount is not None]
        return BatchDone(
            posted=len(amounts),
            total=str(sum(amounts, Decimal(0))),
            tries=sum(invoice.tries for invoice in invoices),
            rejected=[Rejected(i.number, i.rejected) for i in invoices if i.rejected is not None],
        )


def _read_invoices() -> list[dict[str, str]]:
    with INVOICES.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _amount(ev: InvoiceDue) -> Decimal:
    try:
        amount = Decimal(ev.amount)
    except InvalidOperation:
        raise InvalidInvoiceError(f"'{ev.amount}' is no amount") from None
    if not amount.is_finite() or amount <= 0:
        raise InvalidInvoiceError(f"{ev.amount} is not above zero")
    return amount


async def _call_gateway(ev: InvoiceDue, retries: int) -> None:
    """Let every fourth invoice need a second call and every seventh a third, so that a batch always runs the same
    way."""
    await asyncio.sleep(ev.pause)
    serial = int(ev.number.rpartition("-")[2])
    outages = 2 if serial % 7 == 0 else 1 if serial % 4 == 0 else 0
    if retries < outages:
        raise GatewayDownError(f"the gateway dropped {ev.number}")


nightly_batch = NightlyBatch(timeout=None)
