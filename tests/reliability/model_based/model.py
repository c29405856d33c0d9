"""A model of one handler and its invariants, whatever happens to the server: small enough to be believed."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.harness.api import DETAILS, as_listed

Json = dict[str, Any]

INTERNAL = "InternalDispatchEvent"
UNHANDLED = "UnhandledEvent"
"""Tells what became of something that was sent: nobody took it. Its sender sees that without asking."""
WORKING = "Working"
"""Events that a step publishes on its way, and publishes again when it begins again."""
CANCELLED = "WorkflowCancelledEvent"


class Expected(NamedTuple):
    """An event that is published exactly once: its type, and fields that it has one of these sets of."""

    kind: str
    values: tuple[Json, ...]

    def fits(self, line: Json) -> bool:
        """Return whether this line of a log is the expected one."""
        value = line["value"]
        return line["type"] == self.kind and any(fields.items() <= value.items() for fields in self.values)


def is_internal(line: Json) -> bool:
    """Return whether readers see this event only when they ask for it."""
    return INTERNAL in (line["types"] or ()) and line["type"] != UNHANDLED


def counts(line: Json) -> bool:
    """Return whether this event is published exactly once."""
    return line["type"] != WORKING and not is_internal(line)


@dataclass
class Pages:
    """The state of a handler: a notebook's pages, and the total of ``totals``."""

    runs: int = 0
    taken: list[int] = field(default_factory=list)
    answers: list[list[object]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    total: int = 0

    def notebook(self) -> Json:
        """The pages as the workflow shows them."""
        return deepcopy({"runs": self.runs, "taken": self.taken, "answers": self.answers, "held": self.held})


@dataclass
class ModelHandler:
    """One handler: how it stands, what its state holds, and what it has published, over all of its runs."""

    handler_id: str
    workflow: str
    run_id: str = ""
    started_at: str = ""
    status: str = "running"
    error: str | None = None
    shown: Json | None = None
    """The answer of GET since the run has ended; it never changes again."""
    run_ids: list[str] = field(default_factory=list)
    pages: Pages = field(default_factory=Pages)
    questions: list[int] = field(default_factory=list)
    early: list[int] = field(default_factory=list)
    """The answers that came before the first question of the run, and that it holds."""
    asked: bool = False
    """True if the run has asked anything."""
    holding: int | None = None
    """The number of the step that waits at its gate."""
    events: list[Expected] = field(default_factory=list)
    """All that it publishes exactly once, in order."""
    matched: int = 0
    """Number of ``events`` that have been read."""
    lines: list[Json] = field(default_factory=list)
    """The log as it was read, internal events included: it only grows."""
    first: int = 0
    """The first sequence of the current run."""
    queue: tuple[int, int] = (0, 0)
    """Between which sequences the next of the shared queue is: it is known exactly but after a kill."""
    queue_durable: int = 0
    """The next sequence of the shared queue that no kill takes back."""

    def begin(self, run_id: str, started_at: str, label: str = "") -> None:
        """A run begins: the first, or the next of a completed handler, with the state as it is."""
        assert run_id not in self.run_ids, f"{run_id} is no new run"
        self.run_id, self.started_at = run_id, started_at
        self.run_ids.append(run_id)
        self.status, self.error, self.shown = "running", None, None
        self.questions, self.early, self.asked, self.holding = [], [], False, None
        self.first = len(self.lines)
        self.queue, self.queue_durable = (self.first, self.first), self.first
        if self.workflow != "totals":
            self.expect("Opened", label=label, pages=self.pages.notebook())
            self.pages.runs += 1

    def expect(self, kind: str, **value: object) -> None:
        """This will be published next."""
        self.events.append(Expected(kind, (value,)))

    # -- What was sent ---------------------------------------------------------------------------

    def note(self, number: int) -> None:
        """It was sent a note."""
        self.pages.taken.append(number)
        self.expect("Kept", number=number, place=len(self.pages.taken))

    def ask(self, number: int) -> None:
        """It was told to ask; what it holds may answer that."""
        self.asked = True
        self.questions.append(number)
        self.expect("Question", number=number)
        if number in self.early:
            self.early.remove(number)
            self.answer(number, f"answer {number}")

    def answer(self, number: int, text: str) -> None:
        """It was sent an answer, to a question or to none."""
        if not self.asked:
            self.early.append(number)
            return
        if number not in self.questions:
            self.expect(UNHANDLED, event_type="Answer")
            return
        self.questions.remove(number)
        self.pages.answers.append([number, text])
        self.expect("Answered", number=number, text=text)

    def held(self) -> None:
        """The gate was opened for its step."""
        assert self.holding is not None
        self.pages.held.append(self.holding)
        self.expect("Held", number=self.holding)
        self.holding = None

    def finish(self) -> None:
        """It was told to finish. The writes of a running step are seen, but not kept."""
        self._drop_early()
        results = [self.pages.notebook()]
        if self.holding is not None:
            results.append({**results[0], "held": [*self.pages.held, self.holding]})
        self.events.append(Expected("StopEvent", tuple({"result": result} for result in results)))
        self.status = "completed"

    def fail(self, reason: str, step: str = "fail") -> None:
        """It was told to fail."""
        self._drop_early()
        self.expect("WorkflowFailedEvent")
        self.status, self.error = "failed", f"ValueError: {reason} in step {step}"

    def cancel(self) -> None:
        """It was cancelled; what it was sent and had not taken is nobody's any more."""
        self.expect(CANCELLED)
        self.status = "cancelled"

    def _drop_early(self) -> None:
        for _ in self.early:
            self.expect(UNHANDLED, event_type="Answer")
        self.early = []

    def add(self, number: int) -> None:
        """A run of ``totals``, from its start to its end."""
        if number < 0:
            self.fail(f"{number} is less than 0", step="add")
            return
        self.pages.total += number
        self.expect("StopEvent", result=self.pages.total)
        self.status = "completed"

    def stopped(self) -> None:
        """The server ended cleanly: the place of the queue is durable."""
        self.queue_durable = self.queue[0]

    def killed(self) -> None:
        """The server was killed: nobody waited for the place of the queue to become durable."""
        self.queue = (self.queue_durable, self.queue[1])

    # -- What was read ---------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Return whether every event that it must publish has been read."""
        return self.matched == len(self.events)

    def learn(self, line: Json) -> None:
        """The next line of its log, internal events included."""
        assert line["sequence"] == len(self.lines), f"a gap or a repetition: {line} after {len(self.lines)} lines"
        if counts(line):
            if line["type"] == CANCELLED and self.status == "cancelled":
                del self.events[self.matched : -1]
            if line["type"] == UNHANDLED and self.status == "cancelled" and not self._expects(line):
                # What it was sent and had not taken.
                self.lines.append(line)
                return
            assert not self.settled, f"{self.handler_id} published what nothing asks for: {line}"
            expected = self.events[self.matched]
            assert expected.fits(line), f"{self.handler_id} published {line} instead of {expected}"
            self.matched += 1
        self.lines.append(line)

    def _expects(self, line: Json) -> bool:
        return not self.settled and self.events[self.matched].fits(line)

    def after(self, sequence: int, *, internal: bool) -> list[Json]:
        """The lines that a reader past this sequence gets."""
        return visible(self.lines[max(0, sequence + 1) :], internal=internal)

    def check_working(self, interruptions: int) -> None:
        """No step began without need: once, and once more for each death of the server at most, and never again when
        its result was recorded."""
        times: dict[tuple[str, int], int] = {}
        recorded: set[tuple[str, int]] = set()
        for line in self.lines:
            if line["type"] == WORKING:
                key = (line["value"]["step"], line["value"]["number"])
                times[key] = times.get(key, 0) + 1
                assert key not in recorded, f"a step began again whose result was recorded: {line}"
            elif line["type"] in ("Kept", "Held"):
                key = ("take" if line["type"] == "Kept" else "hold", line["value"]["number"])
                assert key in times, f"{line} without its step"
                recorded.add(key)
        assert all(count <= 1 + interruptions for count in times.values()), times

    def check(self, answer: Json) -> None:
        """Compare the handler with what the server shows; the first end that is shown must be shown ever after."""
        shown = {key: answer[key] for key in ("handler_id", "workflow_name", "run_id", "status", "started_at", "error")}
        assert shown == {
            "handler_id": self.handler_id,
            "workflow_name": self.workflow,
            "run_id": self.run_id,
            "status": self.status,
            "started_at": self.started_at,
            "error": self.error,
        }, f"{answer} instead of {self}"
        if self.status == "running":
            assert answer["result"] is None
            assert answer["completed_at"] is None
            assert answer["suspended"] is None
            assert answer["held_events"] <= len(self.early)
            return
        assert answer["held_events"] == 0
        assert not any(answer.get(key) for key in DETAILS)
        answer = as_listed(answer)
        if self.shown is None:
            assert answer["completed_at"] == answer["updated_at"] >= self.started_at
            if self.settled:
                self._check_result(answer["result"])
                self.shown = answer
        else:
            assert answer == self.shown

    def _check_result(self, result: Json | None) -> None:
        if self.status != "completed":
            assert result is None
            return
        last = {key: value for key, value in self.lines[-1].items() if key not in ("time", "sequence")}
        assert result == last, f"the result is {result}, the terminal event is {last}"


def visible(lines: Iterable[Json], *, internal: bool) -> list[Json]:
    """The lines that a reader gets who asks for internal events, or does not."""
    return [line for line in lines if internal or not is_internal(line)]
