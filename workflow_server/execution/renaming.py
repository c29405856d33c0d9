"""Names that the code had before, and what has them now: of classes, modules and steps.

Stored records keep the names of the code that wrote them: they are read by these aliases, and not written anew for it.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from types import FunctionType
from typing import Any

Renamed = Mapping[str, "type[Any] | FunctionType | str"]
"""By old name: the class or function, or the name of the step or module that has taken its place."""

WAITER, WORK_ITEM = "waiter_", "_work_item_"
"""The beginning of the ids that the engine gives waits, and that of the work item in them."""

EXPECTED = "a class, a function, or the name of a step or a module"


class Renaming:
    """The aliases of one workflow.

    Raises:
        ValueError: one of them is not valid; in one line, with the name.
    """

    def __init__(self, renamed: Renamed, steps: Collection[str] = (), own: Collection[type[Any]] = ()) -> None:
        self.classes: dict[str, Any] = {}
        """By the name as the codec stores it, ``module:qualname``: where a name has several points, in all forms."""
        self.modules: dict[str, str] = {}
        self.steps: dict[str, str] = {}
        self._dotted: dict[str, Any] = {}
        self._modules = {kind.__module__ for kind in own}
        self._present = {f"{kind.__module__}.{kind.__qualname__}" for kind in own}
        if not isinstance(renamed, Mapping):
            raise ValueError(  # noqa: TRY004 the registry refuses a workflow for a ValueError
                f"renamed is of type {type(renamed).__name__}: expected a dictionary of old names"
            )
        for old, new in renamed.items():
            self._add(old, new, steps)

    def __bool__(self) -> bool:
        return bool(self.classes or self.modules or self.steps)

    def _add(self, old: str, new: object, steps: Collection[str]) -> None:
        parts = re.split("[.:]", old) if isinstance(old, str) else []
        if not parts or not all(part.isidentifier() or part == "<locals>" for part in parts):
            raise ValueError(f"renamed has the key {old!r}: expected the old name of a class, a step or a module")
        if isinstance(new, (type, FunctionType)):
            self._add_class(old.replace(":", "."), new)
        elif isinstance(new, str) and new in steps:
            self._add_step(old, new, steps)
        elif isinstance(new, str) and _is_module(new):
            if old == new or old in self._modules:
                raise ValueError(f"renamed maps module '{old}', which still has classes of this workflow")
            self.modules[old] = new
        else:
            found = f"'{new}'" if isinstance(new, str) else f"an object of type {type(new).__name__}"
            known = ", ".join(steps)
            raise ValueError(f"renamed maps '{old}' to {found}: expected {EXPECTED}. The steps are: {known}")

    def _add_class(self, old: str, new: Any) -> None:
        parts = old.split(".")
        if len(parts) == 1:
            raise ValueError(f"renamed has the key '{old}' for a class: give its module, too, as in 'module.{old}'")
        if old in self._present or old == f"{new.__module__}.{new.__qualname__}":
            raise ValueError(f"renamed has the key '{old}', which is still the name of a class of this workflow")
        for place in range(1, len(parts)):
            module = ".".join(parts[:place])
            self.classes[f"{module}:{'.'.join(parts[place:])}"] = new
            # The engine names classes without those that they are nested in.
            self._dotted[f"{module}.{parts[-1]}"] = f"{new.__module__}.{new.__name__}"
        self._dotted[old] = f"{new.__module__}.{new.__qualname__}"

    def _add_step(self, old: str, new: str, steps: Collection[str]) -> None:
        if not old.isidentifier():
            raise ValueError(f"renamed maps '{old}' to step '{new}': expected the name of a step as the key")
        if old in steps:
            raise ValueError(f"renamed maps step '{old}', which is still a step of this workflow")
        self.steps[old] = new

    @property
    def types(self) -> dict[str, type[Any]]:
        """Return the classes by their earlier qualified names, as the first builds stored them."""
        return {name.replace(":", "."): kind for name, kind in self.classes.items() if isinstance(kind, type)}

    # -- Reading -------------------------------------------------------------------------------

    def names_now(self, stored: str) -> Iterator[str]:
        """Yield the names to look for instead of a stored one, whose module may have another name."""
        module, _, qualname = stored.rpartition(":")
        found = [module]
        for name in found:
            for old, new in self.modules.items():
                if name == old or name.startswith(f"{old}."):
                    present = f"{new}{name[len(old) :]}"
                    # A module may have been renamed several times, or back.
                    if present not in found and len(found) <= len(self.modules):
                        found.append(present)
                        yield f"{present}:{qualname}"

    def step(self, name: str) -> str:
        """Return the present name of a step."""
        return self.steps.get(name, name)

    def waiter(self, text: str) -> str:
        """Return the id of a wait as the engine would make it now: of the class of the event, what the wait requires of
        it, which stays as it is, and the work item."""
        if not text.startswith(WAITER):
            return text
        named, separator, work_item = text.removeprefix(WAITER).rpartition(WORK_ITEM)
        if not separator:
            named, work_item = work_item, ""
        kind, brace, requirements = named.partition("_{")
        return f"{WAITER}{self.identifier(kind)}{brace}{requirements}{separator}{self.identifier(work_item)}"

    def identifier(self, text: str) -> str:
        """Return an id that the engine made of names of classes and steps, as it would make it now."""
        if self._pattern is not None:
            text = self._pattern.sub(self._replaced, text)
        if self.steps and "->" in text:
            source, _, target = text.partition("->")
            before, separator, source = source.rpartition(":")
            target, _, after = target.partition(":")
            text = f"{before}{separator}{self.step(source)}->{self.step(target)}:{after}"
        return text

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        names = [rf"{re.escape(name)}(?!\w)" for name in sorted(self._dotted, key=len, reverse=True)]
        names += [rf"{re.escape(name)}(?=\.)" for name in sorted(self.modules, key=len, reverse=True)]
        return re.compile(rf"(?<![\w.])(?:{'|'.join(names)})") if names else None

    def _replaced(self, match: re.Match[str]) -> str:
        return str(self._dotted.get(match[0]) or self.modules[match[0]])


NOTHING_RENAMED = Renaming({})


def _is_module(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:
        # To look for a part of a package runs the package's code.
        return False
