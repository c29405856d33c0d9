"""``ctx.store`` of a durable run: the engine's in-memory store, which also records the writes of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Generic, NamedTuple

from pydantic import BaseModel

from workflow_server.execution.codec import Codec, Undecodable, escaped, unescaped
from workflow_server.execution.codec.failures import shortened
from workflow_server.execution.codec.scalars import is_plain
from workflow_server.execution.engine import (
    MODEL_T,
    DictState,
    InMemoryStateStore,
    dict_state,
    fill_memory_store,
    free_lock,
    put_state,
    values_of,
    writing_invocation,
)
from workflow_server.execution.handed_out import WHOLE, Digests, HandedOut
from workflow_server.execution.patches import Json, Operation, Patch, apply, counted_as, diff

_KEYS = "keys"
_MODEL = "model"
_FIELDS = "v"
"""The part of a model's node that holds its fields."""
ROOTS = (_KEYS, _MODEL)
"""Roots of a state's tree: the keys of a dictionary state, or the fields of a typed one."""
LISTED_WRITES = 4_096
"""Writes kept in the list at most while an earlier step has not finished."""


class _Write(NamedTuple):
    key: str
    """The top-level key that is written; empty for the whole state."""


_write: ContextVar[_Write | None] = ContextVar("state_write", default=None)


PatchSink = Callable[[Patch], None]
"""Takes the changes written outside of any running step."""


@dataclass
class _Written:
    """The changes of one write, and whether the step that made it has finished."""

    invocation_id: str | None
    patch: Patch
    before: Json
    """The live state before it."""
    tree: Json
    """The live state after it."""
    finished: bool


class RecordingStateStore(InMemoryStateStore[MODEL_T], Generic[MODEL_T]):
    """The live state of a run, with the writes of each running step kept apart until its result is recorded.

    ``durable`` is the state as the finished steps left it, as a JSON tree. Other steps see a step's writes at once, as
    in the basic runtime, but ``durable`` gets them only with ``take``. Writes are applied in the order in which they
    were made, whatever the order in which their steps finish, so that the durable state equals the live one whenever no
    step runs.
    """

    def __init__(self, state: MODEL_T, codec: Codec, *, durable: Json, unattended: PatchSink) -> None:
        fill_memory_store(self, state)
        self._codec = codec
        self._live: BaseModel = state
        self._handed_out = HandedOut()
        self._digests = Digests()
        self._live_tree: Json = durable
        self._base: Json = durable
        """The state without the listed writes: those before the first write of an unfinished step."""
        self._written: list[_Written] = []
        self._unattended = unattended
        self.durable: Json = durable

    def take(self, invocation_id: str | None, *, begins_again: bool = False) -> Patch | None:
        """Move this step's writes into ``durable``, and return the change to it; None if the step wrote nothing.

        A failed attempt that ``begins_again`` leaves the changes in place of what other steps hold to those: a retry
        leaves out what failed attempts wrote, and they may be the others' changes.

        Raises:
            Unstorable: a value that the step changed in place cannot be stored.
        """
        if invocation_id is not None:
            left = self._handed_out.held_beside(invocation_id) if begins_again else frozenset[str]()
            self._note_changes_in_place(invocation_id, left)
        mine = [written for written in self._written if written.invocation_id == invocation_id]
        if invocation_id is None or not mine:
            return None
        for written in mine:
            written.finished = True
        return self._fold(mine)

    def _fold(self, finished: Sequence[_Written]) -> Patch:
        """Move the writes that have just finished into ``durable``. Numbers that they counted are counted in the patch,
        too: a retry leaves the patches of failed attempts out."""
        if len(self._written) > LISTED_WRITES:
            # One step has been running for very long: its writes now count as made after the others.
            self._base = self._with_finished()
            self._written = [written for written in self._written if not written.finished]
        before, base = self.durable, self._base
        done = list(takewhile(lambda written: written.finished, self._written))
        del self._written[: len(done)]
        for written in done:
            # Nothing else was written in between, or another step's write is left out.
            follows = written.before is self._base
            self._base = written.tree if follows else apply(self._base, written.patch, written.tree)
        self.durable = self._with_finished()
        if len(done) == 1 and before is base is done[0].before and self.durable is done[0].tree:
            return done[0].patch
        return counted_as(diff(before, self.durable, counting=True), [written.patch for written in finished])

    def _with_finished(self) -> Json:
        tree = self._base
        for written in self._written:
            if written.finished:
                tree = apply(tree, written.patch, written.tree)
        return tree

    async def get(self, path: str, default: Any = ...) -> Any:
        """Return a nested value; changes that the step makes in it later are recorded with the step's result."""
        keys = self._keys_beside(path)
        if keys is not None and path in keys:
            key, value = path, keys[path]
        else:
            key, value = path.split(".", 1)[0], await super().get(path, default)
        self._handed_out.note(writing_invocation(), key, value)
        return value

    def _keys_beside(self, path: str) -> dict[str, Any] | None:
        """Return the values of a dictionary state, if this path is the key of one; None for other paths and states."""
        state = self._live
        if type(state) is not DictState or self._pending_seed is not None or "." in path or path[:1] in ("", "_"):
            return None
        return values_of(state)

    async def get_state(self) -> MODEL_T:
        """Return the whole state, whose parts are the live ones: see ``get``."""
        state = await super().get_state()
        self._handed_out.note(writing_invocation(), WHOLE, state)
        return state

    async def set(self, path: str, value: Any) -> None:
        """Set a nested value; the change to its top-level value is recorded."""
        key = path.split(".", 1)[0]
        if self._keys_beside(path) is None or not await self._set_key(path, value):
            with _writing(key):
                await super().set(path, value)
        # It is the step's own object, which may still change.
        self._handed_out.note(writing_invocation(), key, value)

    async def _set_key(self, key: str, value: Any) -> bool:
        """Set the value of a key as the engine does, in a copy of the state: itself may be in a reader's hands.

        False where that is left to the engine: a writer has the lock, or the state has become another one while others
        were waited for.
        """
        lock = free_lock(self)
        if lock is None:
            return False
        async with lock:
            values = self._keys_beside(key)
            if values is None:
                return False
            self._write(dict_state({**values, key: value}), _Write(key))
            return True

    async def set_state(self, state: MODEL_T) -> None:
        """Replace or merge the whole state; the differences are recorded."""
        with _writing(WHOLE):
            await super().set_state(state)

    async def clear(self) -> None:
        """Reset the state to its defaults; the differences are recorded."""
        with _writing(WHOLE):
            await super().clear()

    async def _write_state(self, state: BaseModel, storage: Any = None) -> None:  # noqa: ARG002 there is one
        self._write(state, _write.get())

    def _write(self, state: BaseModel, write: _Write | None) -> None:
        invocation_id = writing_invocation()
        if write is None:
            self._leave_to_others(invocation_id)
        # Encoded before the store takes it: a value that cannot be stored is refused in the step that writes it.
        patch = self._changes(state, write)
        put_state(self, state)
        self._live = state
        self._digests.forget(write.key if write is not None else WHOLE)
        self._note(patch, invocation_id)
        if write is None or write.key == WHOLE:
            # The object that the step edited or passed in is the live state now, and its parts may still change.
            self._handed_out.note(invocation_id, WHOLE, state, in_transaction=write is None)
        if patch and invocation_id is None:
            self._unattended(self._fold(self._written[-1:]))

    def _note(self, patch: Patch, invocation_id: str | None) -> None:
        if patch:
            before, self._live_tree = self._live_tree, apply(self._live_tree, patch)
            is_unattended = invocation_id is None
            self._written.append(_Written(invocation_id, patch, before, self._live_tree, finished=is_unattended))

    def _note_changes_in_place(self, invocation_id: str, left: Set[str]) -> None:
        """Record changes made inside values that the step fetched, without those at the keys ``left`` to other steps.

        Libraries fetch an object, such as an agent's memory, and change it without setting it again. When concurrent
        steps change one object, the first to finish records what it finds.
        """
        self._note_changes_at(self._handed_out.pop(invocation_id), invocation_id, left)

    def _leave_to_others(self, invocation_id: str | None) -> None:
        """Record what other steps have changed in place as theirs: a transaction, which edits a copy of the state,
        records all that is different in it."""
        left = self._handed_out.held_by(invocation_id)
        for other in self._handed_out.others(invocation_id):
            keys = self._handed_out.held_by(other)
            self._note_changes_at(keys, other, left)
            # An object that several hold is looked at once.
            left |= keys

    def _note_changes_at(self, keys: Iterable[str], invocation_id: str, left: Set[str]) -> None:
        for key in keys:
            # Looked at here, a value would count as unchanged when the other step ends.
            if not left & {key, WHOLE} and not self._is_as_it_was(key):
                patch = self._changes(self._live, _Write(key))
                self._note([operation for operation in patch if _top_key(operation) not in left], invocation_id)

    def _is_as_it_was(self, key: str) -> bool:
        if key == WHOLE or type(self._live) is not DictState:
            return False
        values = values_of(self._live)
        # A missing key means that the step got its own default from get().
        return key not in values or self._digests.is_unchanged(key, values[key])

    def _changes(self, state: BaseModel, write: _Write | None) -> Patch:
        values = values_of(state) if write is not None and write.key and type(state) is DictState else {}
        if write is not None and write.key in values:
            # One key of a dictionary: the others need not be encoded again.
            path = (_KEYS, escaped(write.key))
            old = self._live_tree[_KEYS].get(path[1], _MISSING)
            new = encode_key(values[write.key], self._codec, write.key)
            return [{"op": "set", "path": list(path), "value": new}] if old is _MISSING else diff(old, new, path)
        # Only a transaction (edit_state) has read the number that it wrote, so only there a difference counts.
        return diff(self._live_tree, encode_state(state, self._codec), counting=write is None)


def _top_key(operation: Operation) -> str | None:
    """Return the key or the field that is changed; None where it is the state as a whole."""
    path = operation["path"]
    depth = 1 if path[0] == _KEYS else 2
    is_part = len(path) > depth and path[1:depth] in ([], [_FIELDS])
    return unescaped(str(path[depth])) if is_part else None


def encode_state(state: BaseModel, codec: Codec) -> Json:
    """Return the state as the JSON tree that is stored: each key and each field is encoded on its own.

    Raises:
        Unstorable: a value cannot be stored; the message names its key.
    """
    if type(state) is not DictState:
        return {_MODEL: codec.encode_fields(state, "ctx.store")}
    return {_KEYS: {escaped(key): encode_key(value, codec, key) for key, value in state.items()}}


def encode_key(value: Any, codec: Codec, key: str) -> Json:
    """Return one value of a dictionary state as a JSON tree.

    Raises:
        Unstorable: it cannot be stored; the message names the key.
    """
    if is_plain(value):
        return value
    return codec.encode(value, f"ctx.store[{shortened(repr(key))}]")


def decode_state(tree: Json, codec: Codec) -> BaseModel:
    """Return the state that ``encode_state`` made this tree of.

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
            raise Undecodable(
                f"ctx.store[{shortened(repr(key))}]: {error}", remedy=error.remedy, stored_name=error.stored_name
            ) from error
    return DictState(_data=values)


@contextmanager
def _writing(key: str) -> Iterator[None]:
    token = _write.set(_Write(key))
    try:
        yield
    finally:
        _write.reset(token)


_MISSING = object()
