"""The files of the page: read once, compressed on first use, and told apart by a version that is part of their path."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

_CONTENT_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}

CONTENT_TYPES = tuple(_CONTENT_TYPES.values())

_IMPORTED = re.compile(r"""^(?:import|export)\b[^;]*?["'](\.[^"']+)["'];""", re.MULTILINE)
"""Static imports: those at the begin of a line. A call of ``import()`` loads its module later."""


class Asset:
    """A file that browsers load."""

    def __init__(self, path: str, body: bytes) -> None:
        self.path = path
        self.body = body
        self.content_type = _CONTENT_TYPES[path[path.rindex(".") :]]
        self.digest = hashlib.sha256(body).hexdigest()

    @cached_property
    def compressed(self) -> bytes:
        """The body as gzip."""
        return gzip.compress(self.body, mtime=0)


class Assets:
    """All files of the page, by their path below ``static/``."""

    def __init__(self) -> None:
        found = {path: Asset(path, body) for path, body in _walk(files(__package__) / "static", "")}
        self.by_path = MappingProxyType(found)
        digests = "".join(found[path].digest for path in sorted(found))
        self.version = hashlib.sha256(digests.encode()).hexdigest()[:16]
        """Changes with every change of a file: what lies below it never changes, and browsers keep it."""

    def imported_by(self, path: str) -> frozenset[str]:
        """Return the modules that are loaded with this one: those that it imports, and that they import."""
        found: set[str] = set()
        left = [path]
        while left:
            importing = left.pop()
            folder = posixpath.dirname(importing)
            for name in _IMPORTED.findall(self.by_path[importing].body.decode()):
                imported = posixpath.normpath(posixpath.join(folder, name))
                if imported not in found:
                    found.add(imported)
                    left.append(imported)
        return frozenset(found)


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif any(entry.name.endswith(ending) for ending in _CONTENT_TYPES):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
