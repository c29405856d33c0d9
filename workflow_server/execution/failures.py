"""The text of failures: one line that no value can break, and a traceback with the user's own frames.

An exception's message may hold data that a client sent. It is therefore escaped wherever it is written, and of a failed
validation only the places and the rules are reported, never the input.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import llama_index_instrumentation
import workflows
from pydantic import ValidationError
from workflows.events import UnreconstructedException

from workflow_server.errors import StepInterrupted, WorkflowServerError
from workflow_server.printable import without_inputs
from workflow_server.protocol.explaining import explain

LONGEST_REASON = 2_000
"""Maximum characters of a failure's one line."""
LONGEST_TRACEBACK = 16_000
"""Maximum bytes of a traceback; the middle of a longer one is left out."""
MEMBERS = 5
"""Maximum number of exceptions of a group, and of errors of a validation, that are reported."""
DEEPEST = 8
"""Maximum depth of nested groups, and of chains of causes, that is followed."""
FRAMES = 40
"""Maximum number of frames of one traceback; the innermost are kept."""


_LIBRARY = sysconfig.get_paths()["stdlib"]
_MACHINERY = (
    f"{Path(__file__).parents[1]}/",
    f"{Path(workflows.__file__).parent}/",
    f"{Path(llama_index_instrumentation.__file__).parent}/",
    f"{_LIBRARY}/asyncio/",
    f"{_LIBRARY}/concurrent/futures/",
    "<frozen ",
)


def one_line(text: str) -> str:
    """Return the text with every character escaped that could end a line, move a cursor or hide text."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def message_of(error: BaseException) -> str | None:
    """Return the exception's message; None if its ``str`` fails."""
    try:
        return str(error)
    except BaseException:
        return None


def said(error: BaseException) -> str | None:
    """Return the exception's message without the values that pydantic quotes; None if its ``str`` fails."""
    if isinstance(error, ValidationError):
        return explain(error)
    message = message_of(error)
    return None if message is None else without_inputs(message)


def told(error: BaseException) -> str:
    """Return the exception's class and message in one line of at most ``LONGEST_REASON`` characters."""
    return _shortened(_told(error, DEEPEST), LONGEST_REASON)


def _told(error: BaseException, depth: int) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}: {_group(error, depth)}"
    message = said(error)
    if message is None:
        return f"{type(error).__name__}: its message cannot be read"
    text = one_line(message[: LONGEST_REASON + 1])
    if isinstance(error, WorkflowServerError):
        return text
    name = type(error).__name__
    if isinstance(error, UnreconstructedException):
        name = (error.original_type or name).rpartition(".")[2]
    return f"{name}: {text}" if text else name


def _group(group: BaseExceptionGroup[BaseException], depth: int) -> str:
    message = one_line(without_inputs(str(group.message))[:LONGEST_REASON])
    if depth == 0:
        return f"{message} (…)"
    members = [_told(member, depth - 1) for member in group.exceptions[:MEMBERS]]
    if len(group.exceptions) > MEMBERS:
        members.append(f"{len(group.exceptions) - MEMBERS} more")
    return f"{message} ({'; '.join(members)})"


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an exception and its causes, without frames of the engine, the server and asyncio.

    Each message is one line. The result is empty when no frame is the user's: the exception came out of the database,
    or the engine itself raised it.
    """
    sections = list(_sections(error, DEEPEST, set()))
    if not any(has_frames for _, has_frames in sections):
        return ""
    return _bounded("\n\n".join(text for text, _ in sections))


def _sections(error: BaseException, depth: int, seen: set[int]) -> Iterator[tuple[str, bool]]:
    """Yield the exceptions of a chain, oldest first, each with whether it has frames of the user's."""
    seen.add(id(error))
    if isinstance(error, StepInterrupted) and error.__cause__ is not None:
        # A StepInterrupted only stands for its cause.
        yield from _sections(error.__cause__, depth, seen)
        return
    cause = error.__cause__
    earlier = cause if cause is not None or error.__suppress_context__ else error.__context__
    if earlier is not None and id(earlier) not in seen and depth:
        for text, has_frames in _sections(earlier, depth - 1, seen):
            if has_frames:
                yield text, True
                how = "was the direct cause of" if cause is not None else "came before"
                yield f"The above exception {how} the following one:", False
    frames = _frames(error.__traceback__)
    head = ["Traceback (most recent call last):", *frames] if frames else []
    yield "\n".join([*head, told(error), *_notes(error)]), bool(frames)
    if isinstance(error, BaseExceptionGroup) and depth:
        for number, member in enumerate(error.exceptions[:MEMBERS], 1):
            for text, has_frames in _sections(member, depth - 1, seen):
                yield "\n".join([f"  {number} of {len(error.exceptions)}:", *_indented(text, "    ")]), has_frames


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    return (
        [one_line(without_inputs(str(note)))[:LONGEST_REASON] for note in notes[:MEMBERS]]
        if isinstance(notes, list)
        else []
    )


def _frames(trace: TracebackType | None) -> list[str]:
    kept = [frame for frame in traceback.walk_tb(trace) if not is_machinery(frame[0].f_code.co_filename)]
    if not kept:
        return []
    summary = traceback.StackSummary.extract(iter(kept[-FRAMES:]))
    lines = [line for entry in summary.format() for line in entry.splitlines()]
    return [f"  … {len(kept) - FRAMES} frames", *lines] if len(kept) > FRAMES else lines


def is_machinery(filename: str) -> bool:
    """Return whether this file belongs to the engine, this server or asyncio rather than to the user."""
    return filename.startswith(_MACHINERY)


def _bounded(text: str) -> str:
    # File names and lines of source may contain text that is not valid Unicode.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2 - 10
        data = data[:half] + b"\n  [\xe2\x80\xa6]\n" + data[-half:]
    return data.decode("utf-8", "ignore")


def _indented(text: str, margin: str) -> list[str]:
    return [f"{margin}{line}" for line in text.splitlines()]


def indented(text: str) -> str:
    """Return the text indented for the log: no line of it begins where a log record does."""
    return "\n".join(_indented(text, "    "))
