"""The codec for everything that is stored of a run: an object graph comes back equal and of the same types, or is
refused.

Clients read a different form (``envelopes.py``). Nothing that a client sends is ever decoded here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from workflow_server.errors import Unstorable
from workflow_server.execution.codec.comparing import difference
from workflow_server.execution.codec.decoding import Decoding
from workflow_server.execution.codec.encoding import Encoder
from workflow_server.execution.codec.failures import Undecodable, Unkeepable
from workflow_server.execution.codec.field_types import fingerprint
from workflow_server.execution.codec.layout import TAG, CompactLayout, ModelLayout, escaped, unescaped
from workflow_server.execution.codec.names import NAMED, Aliases, Names
from workflow_server.execution.codec.plain import PlainTexts
from workflow_server.execution.codec.registered import follow, register_type
from workflow_server.execution.codec.run import FLATTER, REMEDY, Run
from workflow_server.execution.codec.showing import Showing
from workflow_server.execution.codec.texts import text_of, tree_of

__all__ = [
    "NAMED",
    "TAG",
    "Codec",
    "CompactLayout",
    "Undecodable",
    "escaped",
    "fingerprint",
    "register_type",
    "text_of",
    "tree_of",
    "unescaped",
]

Json = Any

PROOFS = 3
"""Number of values of each shape that are read back when they are written, where an exact round trip is not certain."""

MOST_SHAPES = 10_000
"""Maximum number of remembered shapes; dictionaries with ever new keys have a new shape each time."""


class Codec:
    """Encodes values as JSON trees and texts, and decodes them.

    ``own`` are classes that resolve without an import; ``compact`` are classes of the engine that have a short form;
    ``aliases`` are earlier names of classes and functions.
    """

    def __init__(
        self,
        own: Iterable[type[Any]] = (),
        compact: Iterable[CompactLayout] = (),
        aliases: Aliases | None = None,
    ) -> None:
        layouts = list(compact)
        self._names = Names(own, aliases)
        by_kind = {layout.kind: layout for layout in layouts}
        self._encoder = Encoder(self._names, by_kind)
        self._plain = PlainTexts(self._names, by_kind)
        self._by_tag = {layout.tag: layout for layout in layouts}
        self._models: dict[type, ModelLayout] = {}
        self._proofs: Counter[object] = Counter()
        self._names.expressions = _Expressions(self._encoder, Decoding(self._names, self._by_tag, self._models))
        follow(self._encoder)
        follow(self._plain)

    def encode(self, value: Any, what: str = "The value") -> Json:
        """Return the tree of a value; ``what`` is its name in error messages.

        Raises:
            Unstorable: something in it cannot be stored; one line with its place, its type and the remedy.
        """
        try:
            try:
                return self._encoded(value)
            except RecursionError:
                raise
            except RuntimeError:
                # Python's way of saying that a thread of another step changed a container during the iteration.
                return self._encoded(value, by_copies=True)
        except Unkeepable as error:
            reason = f"it is of type {error.of(type(value)).kind}, and {error.reason}"
            raise Unstorable(what=error.place(what), reason=reason) from error
        except RecursionError as error:
            raise Unstorable(what=what, reason=f"it is nested too deeply: {FLATTER}") from error
        except BaseException as error:
            # Nothing here suspends, so that even a CancelledError comes from the code of a value.
            reason = f"reading its contents raised {type(error).__name__}: {REMEDY}"
            raise Unstorable(what=what, reason=reason) from error

    def encode_fields(self, model: BaseModel, what: str) -> Json:
        """Return the tree of a model with each field encoded on its own, so that patches can change them separately.

        Raises:
            Unstorable: see ``encode``.
        """
        kind = type(model)
        layout = self._models.get(kind) or self._models.setdefault(kind, ModelLayout(kind))
        if layout.overrides_state:
            return self.encode(model, what)
        try:
            name = self._names.of(kind)
        except Unkeepable as error:
            raise Unstorable(what=what, reason=f"it {error.reason}") from error
        node = {TAG: "m", "c": name}
        layout.write(node, model, _Fields(self, what), Run())
        return node

    def decode(self, tree: Json) -> Any:
        """Return a new value made from a tree.

        Raises:
            Undecodable: the code has changed since, or the tree is damaged. The message names no value and no module.
        """
        try:
            return Decoding(self._names, self._by_tag, self._models).value(tree)
        except Undecodable:
            raise
        except RecursionError as error:
            raise Undecodable("it is nested too deeply") from error
        except BaseException as error:
            # As in ``encode``: a class that raises SystemExit, say, must not end the server.
            raise Undecodable("its class no longer accepts the stored state") from error

    def dumps(self, value: Any, what: str = "The value") -> str:
        """Return the text of a value; see ``encode``."""
        text = self._plain.text(value)
        return text_of(self.encode(value, what)) if text is None else text

    def showing(self, size: int) -> Showing:
        """Return what shows trees as JSON that people look at, in so many bytes."""
        return Showing(self._names.loaded, size)

    def plain_text(self, value: Any, level: int) -> str | None:
        """Return the text of a value as a part of others, so many levels within them; None where its place matters."""
        return self._plain.text(value, level)

    def loads(self, text: str) -> Any:
        """Return the value of a text; see ``decode``."""
        try:
            tree = tree_of(text)
        except ValueError as error:
            raise Undecodable("it is damaged: not valid JSON") from error
        return self.decode(tree)

    def _encoded(self, value: Any, *, plain_exceptions: bool = False, by_copies: bool = False) -> Json:
        run = Run(plain_exceptions=plain_exceptions, by_copies=by_copies)
        tree = self._encoder.value(value, run)
        if run.shared:
            tree = {TAG: "graph", "v": tree}
        if not (run.unproven or run.left_to_class or run.hashes_others):
            return tree
        unproven = [shape for shape in run.unproven or () if self._proofs[shape] < PROOFS]
        if unproven or run.left_to_class or run.hashes_others:
            try:
                self._prove(tree)
            except Unkeepable as error:
                if plain_exceptions or not run.has_failures:
                    raise run.left_to_class or error from None
                return self._encoded(value, plain_exceptions=True, by_copies=by_copies)
            if len(self._proofs) > MOST_SHAPES:
                self._proofs.clear()
            self._proofs.update(unproven)
        return tree

    def _prove(self, tree: Json) -> None:
        """Read a tree back before it is written, and compare."""
        try:
            again = Run()
            read = self._encoder.value(self.decode(tree_of(text_of(tree))), again)
        except (Undecodable, Unkeepable) as error:
            raise Unkeepable(f"cannot be read back: {REMEDY}") from error
        if again.shared:
            read = {TAG: "graph", "v": read}
        found = difference(tree, read)
        if found is not None:
            raise Unkeepable(f"would come back as a different value{found}: {REMEDY}")


class _Expressions:
    """Encodes and decodes type expressions as values."""

    def __init__(self, encoder: Encoder, decoding: Decoding) -> None:
        self._encoder = encoder
        self._decoding = decoding

    def encode(self, value: Any) -> Json:
        run = Run()
        tree = self._encoder.value(value, run)
        return {TAG: "graph", "v": tree} if run.shared else tree

    def decode(self, tree: Json) -> Any:
        return self._decoding.value(tree if isinstance(tree, dict) and TAG in tree else {TAG: "graph", "v": tree})


class _Fields:
    """Encodes each of several named values on its own."""

    def __init__(self, codec: Codec, what: str) -> None:
        self._codec = codec
        self._what = what

    def attributes(self, attributes: Mapping[str, Any], run: Run) -> dict[str, Json]:  # noqa: ARG002
        return {escaped(name): self._codec.encode(value, f"{self._what}.{name}") for name, value in attributes.items()}
