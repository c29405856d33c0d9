"""A workflow whose start event has a field of each kind that a form has to offer."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Priority(Enum):
    """The urgency of an order."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Address(BaseModel):
    """A postal address."""

    street: str = Field(min_length=1, description="With the number of the house.")
    city: str
    country: Literal["AT", "CH", "DE"] = "DE"


class Person(BaseModel):
    """A person who gets something."""

    name: str = Field(min_length=1, max_length=40)
    age: int | None = Field(None, ge=0, le=150)
    address: Address | None = None


class ByPost(BaseModel):
    """A letter."""

    kind: Literal["post"] = "post"
    address: Address


class ByMail(BaseModel):
    """An e-mail."""

    kind: Literal["mail"] = "mail"
    to: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")


class Line(BaseModel):
    """One line of an order."""

    article: str
    pieces: int = Field(1, ge=1, le=99)


class Request(StartEvent):
    """An order, with a field of each kind."""

    title: str = Field(min_length=3, max_length=60, title="Title of the order", description="Shown on the invoice.")
    customer: Person
    lines: list[Line] = Field(min_length=1, max_length=5, description="At least one.")
    delivery: Annotated[ByPost | ByMail, Field(discriminator="kind")]
    priority: Priority = Priority.NORMAL
    due: date | None = None
    not_before: datetime | None = None
    discount: float = Field(0.0, ge=0, lt=1, description="A part of 1.")
    budget: Decimal | None = None
    reference: int | str = "none"
    gift: bool = False
    labels: list[str] = Field(["new"])
    tags_of_lines: dict[str, int] = Field({})
    text: str = Field("", description="A longer text.", json_schema_extra={"format": "textarea"})
    password: SecretStr | None = None
    anything: Any = None


class Form(Workflow):
    """Take a request, and end with what came."""

    @step
    async def take(self, ev: Request) -> StopEvent:
        """Tell what came."""
        return StopEvent(result=ev.model_dump(mode="json"))


form = Form(timeout=None)
