"""``ctx.store`` of a durable run: the engine's in-memory store, which records what each step writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple

from pydantic import BaseModel

from workflow_server.execution.codec import Codec, Undecodable, escaped, unescaped
from workflow_server.execution.codec.failures import shortened
from workflow_server.execution.engine import (
    MODEL_T,
    DictState,
    InMemoryStateStore,
    writing_invocation,
)
from workflow_server.execution.handed_out import WHOLE, HandedOut, Marks
from workflow_server.execution.patches import Json, Patch, apply, diff

_KEYS = "keys"
_MODEL = "model"
ROOTS = (_KEYS, _MODEL)
"""Roots of a state's tree: the keys of a dictionary state, or the model of a typed one."""
LISTED_WRITES = 4_096
"""Writes that are listed at most while a step that wrote before them has not finished."""


class _Write(NamedTuple):
    key: str
    """The top-level key that is written, or the whole state where empty."""


_write: ContextVar[_Write | None] = ContextVar("state_write", default=None)


PatchSink = Callable[[Patch], None]
"""Takes what was written outside any running step."""


@dataclass
class _Written:
    """The changes of one write, and whether the step that wrote it has finished."""

    invocation_id: str | None
    patch: Patch
    tree: Json
    """The live state after it."""
    finished: bool


class RecordingStateStore(InMemoryStateStore[MODEL_T], Generic[MODEL_T]):
    """The live state of a run, with the writes of each running step kept apart until its result is recorded.

    ``durable`` is the state as the finished steps left it, as a JSON tree. What a step writes is seen by the other
    steps at once, as in the basic runtime, but enters ``durable`` only with ``take``. Writes are folded in the order in
    which they were made, whatever the order in which their steps finish, so that the durable state is the live one
    whenever no step is under way.
    """

    def __init__(self, state: MODEL_T, codec: Codec, *, durable: Json, unattended: PatchSink) -> None:
        super().__init__(state)
        self._codec = codec
        self._live: BaseModel = state
        self._handed_out = HandedOut()
        self._marks = Marks()
        self._live_tree: Json = durable
        self._base: Json = durable
        """The state without the writes that are listed: those before the first of a step that has not finished."""
        self._written: list[_Written] = []
        self._unattended = unattended
        self.durable: Json = durable

    def take(self, invocation_id: str | None) -> Patch | None:
        """Fold what this step wrote into ``durable``; returns what that changed, or None where it wrote nothing.

        Raises:
            Unstorable: what the step changed in place cannot be kept.
        """
        if invocation_id is not None:
            self._note_changes_in_place(invocation_id)
        mine = [written for written in self._written if written.invocation_id == invocation_id]
        if invocation_id is None or not mine:
            return None
        for written in mine:
            written.finished = True
        return self._fold()

    def _fold(self) -> Patch:
        if len(self._written) > LISTED_WRITES:
            # A step has been under way for very long: from here on it counts as having written after the others.
            self._base = self._with_finished()
            self._written = [written for written in self._written if not written.finished]
        while self._written and self._written[0].finished:
            first = self._written.pop(0)
            self._base = apply(self._base, first.patch, first.tree)
        before, self.durable = self.durable, self._with_finished()
        return diff(before, self.durable)

    def _with_finished(self) -> Json:
        tree = self._base
        for written in self._written:
            if written.finished:
                tree = apply(tree, written.patch, written.tree)
        return tree

    async def get(self, path: str, default: Any = ...) -> Any:
        """Return a nested value; what the step changes in it afterwards is recorded with the step's result."""
        value = await super().get(path, default)
        self._handed_out.note(writing_invocation(), path.split(".", 1)[0], value)
        return value

    async def get_state(self) -> MODEL_T:
        """Return the whole state, whose parts are the live ones: see ``get``."""
        state = await super().get_state()
        self._handed_out.note(writing_invocation(), WHOLE, state)
        return state

    async def set(self, path: str, value: Any) -> None:
        """Set a nested value; recorded is the top-level value that changed."""
        key = path.split(".", 1)[0]
        with _writing(key):
            await super().set(path, value)
        # It is the step's own object, which may still change.
        self._handed_out.note(writing_invocation(), key, value)

    async def set_state(self, state: MODEL_T) -> None:
        """Replace or merge the whole state; recorded is what differs."""
        with _writing(WHOLE):
            await super().set_state(state)

    async def clear(self) -> None:
        """Reset the state to its defaults; recorded is what differs."""
        with _writing(WHOLE):
            await super().clear()

    async def _write_state(self, state: BaseModel, storage: Any = None) -> None:
        # Encoded before the store takes it: what cannot be stored is refused in the step that writes it.
        write = _write.get()
        patch = self._changes(state, write)
        await super()._write_state(state, storage)
        self._live = state
        self._marks.forget(write.key if write is not None else WHOLE)
        invocation_id = writing_invocation()
        self._note(patch, invocation_id)
        if write is None or write.key == WHOLE:
            # What the step edited or gave is the live state now, and its parts may still change.
            self._handed_out.note(invocation_id, WHOLE, state)
        if patch and invocation_id is None:
            self._unattended(self._fold())

    def _note(self, patch: Patch, invocation_id: str | None) -> None:
        if patch:
            self._live_tree = apply(self._live_tree, patch)
            self._written.append(_Written(invocation_id, patch, self._live_tree, finished=invocation_id is None))

    def _note_changes_in_place(self, invocation_id: str) -> None:
        """Record what became of the values that a step has fetched: libraries fetch an object, a memory for instance,
        and change it without setting it again. Of concurrent steps that change one object, the first to finish records
        what it finds."""
        for key in self._handed_out.taken_back(invocation_id):
            if not self._is_as_it_was(key):
                self._note(self._changes(self._live, _Write(key)), invocation_id)

    def _is_as_it_was(self, key: str) -> bool:
        if key == WHOLE or type(self._live) is not DictState:
            return False
        # Where it is not there, it is a default that the step gave to get().
        return key not in self._live or self._marks.is_unchanged(key, self._live[key])

    def _changes(self, state: BaseModel, write: _Write | None) -> Patch:
        if write is not None and write.key and type(state) is DictState and write.key in state:
            # One key of a dictionary: the others need not be encoded again.
            path = (_KEYS, escaped(write.key))
            old = self._live_tree[_KEYS].get(path[1], _MISSING)
            new = encode_key(state[write.key], self._codec, write.key)
            return [{"op": "set", "path": list(path), "value": new}] if old is _MISSING else diff(old, new, path)
        # Only a transaction (edit_state) read what it wrote, so only there a number is counted on.
        return diff(self._live_tree, encode_state(state, self._codec), counting=write is None)


def encode_state(state: BaseModel, codec: Codec) -> Json:
    """The state as the JSON tree that is stored: each key and each field is a value for itself.

    Raises:
        Unstorable: a value cannot be kept; the message names its key.
    """
    if type(state) is not DictState:
        return {_MODEL: codec.encode_fields(state, "ctx.store")}
    return {_KEYS: {escaped(key): encode_key(value, codec, key) for key, value in state.items()}}


def encode_key(value: Any, codec: Codec, key: str) -> Json:
    """One value of a dictionary state as a JSON tree.

    Raises:
        Unstorable: it cannot be kept; the message names the key.
    """
    return codec.encode(value, f"ctx.store[{shortened(repr(key))}]")


def decode_state(tree: Json, codec: Codec) -> BaseModel:
    """The state that ``encode_state`` made this tree of.

    Raises:
        Undecodable: see ``Codec.decode``; the message names the key.
    """
    if _MODEL in tree:
        state: BaseModel = codec.decode(tree[_MODEL])
        return state
    values: dict[str, Any] = {}
    for key, item in tree[_KEYS].items():
        try:
            values[unescaped(key)] = codec.decode(item)
        except Undecodable as error:
            raise Undecodable(f"ctx.store[{shortened(repr(key))}]: {error}") from error
    return DictState(_data=values)


@contextmanager
def _writing(key: str) -> Iterator[None]:
    token = _write.set(_Write(key))
    try:
        yield
    finally:
        _write.reset(token)


_MISSING = object()
