"""A disk as a power cut leaves it: what was synced is there, and of the rest anything may be.

Model: a file's data is durable once the file was synced, its name once its folder was. Of the writes and cuts since,
any may have reached the disk, in any order, a write also in part: each of its sectors of 512 bytes by itself. The
file may have got its new length without the data, which then reads as zeros. Names that were made, changed and removed
since the folder's last sync are there or not, each by itself.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.reliability.power.recording import Kind, Operation

SECTOR = 512

Image = dict[str, bytes]
"""The files that are there, by name."""


class Fate(enum.Enum):
    """The fate of what was not synced."""

    ALL = "all of it is there"
    NONE = "none of it is there"
    SOME = "some of the writes are there"
    TORN = "some of the sectors are there"
    FRONT = "the first of it is there, and the last write of that in part"


class Change(NamedTuple):
    """A write or, without data, a cut; ``number`` counts all changes and names."""

    number: int
    offset: int
    data: bytes | None

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """The write by sectors."""
        assert self.data is not None
        start = 0
        while start < len(self.data):
            end = start + SECTOR - (self.offset + start) % SECTOR
            yield self.offset + start, self.data[start:end]
            start = end


class Naming(NamedTuple):
    """A name gets a file, or none."""

    number: int
    name: str
    file: int | None


class StoredFile:
    """A file: what is durable of it, and what was done since."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.pending: list[Change] = []

    def sync(self) -> None:
        for change in self.pending:
            apply(self.durable, change)
        self.pending.clear()


class Cut(NamedTuple):
    """One way in which the power may go: which of the pending changes and names are there."""

    epoch: int
    names: tuple[int, ...]
    changes: tuple[tuple[int, int], ...]
    """The number of each change that is there, with the bits of its sectors, or -1 where it is whole."""
    grown: bool
    """Files have the length of all that was written, whether it is there or not."""


def apply(content: bytearray, change: Change, sectors: int = -1) -> None:
    """Make the change, or those of its sectors whose bits are set."""
    if change.data is None:
        grow(content, change.offset)
        del content[change.offset :]
        return
    if sectors == -1:
        _write(content, change.offset, change.data)
        return
    for place, (offset, data) in enumerate(change.parts()):
        if sectors >> place & 1:
            _write(content, offset, data)


def _write(content: bytearray, offset: int, data: bytes) -> None:
    grow(content, offset)
    content[offset : offset + len(data)] = data


def grow(content: bytearray, size: int) -> None:
    """Fill up with zeros to this size."""
    content.extend(bytes(max(0, size - len(content))))


class Disk:
    """Follows the operations one by one. ``forgets`` are names whose syncs do nothing ("" is the folder's): a disk that
    lies."""

    def __init__(self, image: Mapping[str, bytes] | None = None, *, forgets: Sequence[str] = ()) -> None:
        self.epoch = 0
        """Grows whenever something becomes durable."""
        self._forgets = forgets
        self._number = 0
        self._files: dict[int, StoredFile] = {}
        self._names: dict[str, int] = {}
        self._current: dict[str, int] = {}
        self._naming: list[Naming] = []
        for place, (name, content) in enumerate((image or {}).items(), 1):
            # Inodes are not known of files that were there before; the first opening tells them.
            self._files[-place] = StoredFile(content)
            self._names[name] = self._current[name] = -place

    # -- Following -----------------------------------------------------------------------------

    def follow(self, operation: Operation) -> None:
        """Apply the operation."""
        match operation.kind:
            case Kind.OPENED:
                self._open(operation)
            case Kind.WRITTEN:
                self._change(operation.file, operation.offset, operation.data)
            case Kind.CUT:
                self._change(operation.file, operation.offset, None)
            case Kind.SYNCED:
                self._sync(operation.file)
            case Kind.REMOVED:
                del self._current[operation.name]
                self._name(operation.name, None)
            case Kind.RENAMED:
                file = self._current[operation.new_name] = self._current.pop(operation.name)
                self._name(operation.new_name, file)
                # Under the same number: a rename is there as a whole or not at all.
                self._naming.append(Naming(self._number, operation.name, None))
            case Kind.FOLDER_SYNCED:
                self._sync_folder()

    def _open(self, operation: Operation) -> None:
        name, file = operation.name, operation.file
        if operation.created:
            # An inode that was used before is that of a file which is gone.
            self._detach(file)
            self._files[file] = StoredFile()
            self._current[name] = file
            self._name(name, file)
        elif self._current[name] < 0:
            known = self._current[name]
            self._files[file] = self._files.pop(known)
            self._current[name] = file
            self._names = {name: file if there == known else there for name, there in self._names.items()}
            self._naming = [naming._replace(file=file) if naming.file == known else naming for naming in self._naming]
        assert self._current[name] == file, f"{name} is another file than the one that was recorded"
        if operation.emptied and not operation.created:
            self._change(file, 0, None)

    def _detach(self, file: int) -> None:
        if file not in self._files:
            return
        aside = min([0, *self._files]) - 1
        self._files[aside] = self._files.pop(file)
        self._names = {name: aside if there == file else there for name, there in self._names.items()}
        self._naming = [naming._replace(file=aside) if naming.file == file else naming for naming in self._naming]

    def _change(self, file: int, offset: int, data: bytes | None) -> None:
        self._number += 1
        self._files[file].pending.append(Change(self._number, offset, data))

    def _name(self, name: str, file: int | None) -> None:
        self._number += 1
        self._naming.append(Naming(self._number, name, file))

    def _sync(self, file: int) -> None:
        stored = self._files[file]
        forgotten = any(self._current.get(name) == file for name in self._forgets)
        if stored.pending and not forgotten:
            self.epoch += 1
            stored.sync()

    def _sync_folder(self) -> None:
        if self._naming and "" not in self._forgets:
            self.epoch += 1
            self._names = _named(self._names, self._naming)
            self._naming.clear()
            reachable = {*self._names.values(), *self._current.values()}
            self._files = {file: stored for file, stored in self._files.items() if file in reachable}

    # -- Cutting -------------------------------------------------------------------------------

    def pending(self) -> tuple[list[Naming], dict[str, list[Change]]]:
        """Return what is not durable: the names, and the changes by the file's name."""
        names = {file: name for name, file in self._names.items()}
        names |= {naming.file: naming.name for naming in self._naming if naming.file is not None}
        changes: dict[str, list[Change]] = {}
        for file, name in names.items():
            if self._files[file].pending:
                changes.setdefault(name, []).extend(self._files[file].pending)
        return self._naming, changes

    def cut(self, fate: Fate, chance: random.Random) -> Cut:
        """Let the power go. Two cuts that are equal leave the same disk."""
        naming, by_name = self.pending()
        changes = sorted(change for several in by_name.values() for change in several)
        if fate in (Fate.NONE, Fate.ALL):
            kept = changes if fate is Fate.ALL else []
            names = [item.number for item in naming] if fate is Fate.ALL else []
            return Cut(self.epoch, tuple(names), tuple((change.number, -1) for change in kept), False)
        if fate is Fate.FRONT:
            return self._front(naming, changes, chance)
        share = chance.choice((0.15, 0.5, 0.85))
        names = [item.number for item in naming if chance.random() < share]
        bits = ((change.number, _bits(change, fate, share, chance)) for change in changes)
        grown = bool(changes) and chance.random() < 0.25
        return Cut(self.epoch, tuple(names), tuple((number, sectors) for number, sectors in bits if sectors), grown)

    def _front(self, naming: list[Naming], changes: list[Change], chance: random.Random) -> Cut:
        numbers = sorted([item.number for item in naming] + [change.number for change in changes])
        last = chance.choice(numbers) if numbers else 0
        kept: list[tuple[int, int]] = [(change.number, -1) for change in changes if change.number < last]
        torn = next((change for change in changes if change.number == last and change.data is not None), None)
        if torn is not None and (sectors := (1 << chance.randrange(1 + sum(1 for _ in torn.parts()))) - 1):
            kept.append((last, sectors))
        return Cut(self.epoch, tuple(item.number for item in naming if item.number < last), tuple(kept), False)

    def image(self, cut: Cut) -> Image:
        """The files as this cut leaves them."""
        there = dict(cut.changes)
        names = _named(self._names, [naming for naming in self._naming if naming.number in cut.names])
        image: Image = {}
        for name, file in names.items():
            stored = self._files[file]
            content = bytearray(stored.durable)
            size = len(content)
            for change in stored.pending:
                size = change.offset if change.data is None else max(size, change.offset + len(change.data))
                if change.number in there:
                    apply(content, change, there[change.number])
            if cut.grown:
                grow(content, size)
            image[name] = bytes(content)
        return image


def _named(names: Mapping[str, int], naming: Sequence[Naming]) -> dict[str, int]:
    result = dict(names)
    for item in naming:
        if item.file is None:
            result.pop(item.name, None)
        else:
            result[item.name] = item.file
    return result


def _bits(change: Change, fate: Fate, share: float, chance: random.Random) -> int:
    """Choose the sectors of the change that are there: -1 all, 0 none."""
    if chance.random() < share:
        return -1
    if fate is Fate.SOME or change.data is None:
        return 0
    count = sum(1 for _ in change.parts())
    return chance.getrandbits(count)
