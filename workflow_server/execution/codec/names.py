"""Names of classes and functions, as they are stored in the database, and back.

A name is ``module:qualname``, or ``qualname`` alone for a builtin. A parametrised model is an object, ``{"origin":
name, "args": [...]}``, with a parameter that is not a class as ``{"value": tree}``. A name is only written if it leads
back to the very same object.

Names come from the project's own database and from nowhere else: nothing that a client sends is ever resolved here.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from workflow_server.execution.codec.failures import Undecodable, Unkeepable
from workflow_server.printable import printable

Json = Any

MOST_CLASSES = 10_000
"""Maximum number of remembered classes: a program may create classes without end."""

LONGEST_NAME = 80
"""Characters that are shown of a stored name."""

NAMED = "deploy code that has it, or name its successor with add_workflow(renamed=...)"

_TOP_LEVEL = "define it at the top level of a module"


class Expressions(Protocol):
    """Encodes and decodes parameters of classes that are not classes themselves: ``list[int]``, ``int | None``."""

    def encode(self, value: Any) -> Json:
        """Return the tree of a type expression."""

    def decode(self, tree: Json) -> Any:
        """Return the type expression of a tree."""


class Aliases(Protocol):
    """Earlier names of classes and functions."""

    @property
    def classes(self) -> Mapping[str, Any]:
        """Return what has these names now."""

    def names_now(self, stored: str) -> Iterator[str]:
        """Yield the names to look for instead of a stored one."""


class Names:
    """Finds names for classes and functions, and classes and functions for names.

    ``own`` are classes that resolve without an import, by the names they have here: a workflow's own events may be
    local to the function that creates the workflow. ``aliases`` are tried before an import.
    """

    expressions: Expressions

    def __init__(self, own: Iterable[type[Any]] = (), aliases: Aliases | None = None) -> None:
        self._own: dict[str, Any] = {}
        self._aliases = aliases
        self._names: dict[Any, Json] = {}
        self._found: dict[str, Any] = {}
        for kind in own:
            self._own.setdefault(_name(kind.__module__, kind.__qualname__), kind)

    # -- Writing -------------------------------------------------------------------------------

    def of(self, kind: Any) -> Json:
        """Return the name of a class.

        Raises:
            Unkeepable: it cannot be found by any name.
        """
        named = self._names.get(kind)
        if named is None:
            named = self._of_type(kind)
            if len(self._names) >= MOST_CLASSES:
                self._names.clear()
            self._names[kind] = named
        return named

    def of_function(self, function: Any, qualname: str | None = None) -> str:
        """Return the name of a function or another global object.

        Raises:
            Unkeepable: it cannot be found by its name.
        """
        name = qualname or getattr(function, "__qualname__", None) or getattr(function, "__name__", "")
        qualname = str(name)
        module = getattr(function, "__module__", None) or _module_of(function, qualname)
        name = _name(module or "builtins", qualname)
        if _or_none(self.resolve, name) is not function:
            raise Unkeepable(f"is a function that cannot be found by its name: {_TOP_LEVEL}")
        return name

    def _of_type(self, kind: Any) -> Json:
        generic = getattr(kind, "__pydantic_generic_metadata__", None)
        if generic and generic["origin"] is not None:
            return self._parametrised(kind, generic["origin"], generic["args"])
        name = _name(kind.__module__, kind.__qualname__)
        if self._own.get(name) is kind or _or_none(self.resolve, name) is kind:
            return name
        # A class that a function created (create_model, namedtuple) may be bound to another name.
        alias = _alias(kind, kind.__module__, "types")
        if alias is None:
            raise Unkeepable(f"is of a class that cannot be found by its name: {_TOP_LEVEL}")
        return alias

    def _parametrised(self, kind: type[Any], origin: Any, args: tuple[Any, ...]) -> Json:
        try:
            named = {"origin": self.of(origin), "args": [self._argument(arg) for arg in args]}
            is_found = self.resolve(named) is kind
        except (Unkeepable, Undecodable, TypeError):
            is_found = False
        if is_found:
            return named
        alias = _alias(kind, kind.__module__, origin.__module__)
        if alias is None:
            raise Unkeepable(
                "is of a parametrised class that cannot be found by its parameters: give it a name at the top level "
                "of a module"
            )
        return alias

    def _argument(self, arg: Any) -> Json:
        if isinstance(arg, type) and not isinstance(arg, types.GenericAlias):
            return self.of(arg)
        return {"value": self.expressions.encode(arg)}

    # -- Reading -------------------------------------------------------------------------------

    def resolve(self, name: Json) -> Any:
        """Return the class, function or type expression of a name.

        Raises:
            Undecodable: there is none.
        """
        if not isinstance(name, str):
            return self._resolve_expression(name)
        found = self._own.get(name, self._found.get(name))
        if found is None:
            found = self._found[name] = self._find(name)
        return found

    def _find(self, name: str) -> Any:
        if self._aliases is not None:
            found = self._aliases.classes.get(name)
            if found is not None:
                return found
            for present in self._aliases.names_now(name):
                found = self._own.get(present) or self._aliases.classes.get(present) or _or_none(_import, present)
                if found is not None:
                    return found
        return _import(name)

    def resolve_class(self, name: Json) -> type[Any]:
        """Return the class of a name.

        Raises:
            Undecodable: there is none.
        """
        kind = self.resolve(name)
        if not isinstance(kind, type):
            raise Undecodable("the name of a class no longer stands for one")
        return kind

    def loaded(self, name: Json) -> type[Any] | None:
        """Return the class of a name where it is loaded, None otherwise: nothing is imported, and no code runs. Of a
        parametrised class it is the one without parameters."""
        while isinstance(name, dict):
            name = name.get("origin")
        if not isinstance(name, str):
            return None
        names = [name] if self._aliases is None else [name, *self._aliases.names_now(name)]
        known = [self._own, self._found] if self._aliases is None else [self._own, self._found, self._aliases.classes]
        found = next((of[one] for one in names for of in known if one in of), None) or _in_memory(name)
        return found if isinstance(found, type) else None

    def _resolve_expression(self, name: dict[str, Any]) -> Any:
        if "value" in name:
            return self.expressions.decode(name["value"])
        origin = self.resolve(name["origin"])
        args = tuple(self.resolve(arg) for arg in name["args"])
        return origin[args if len(args) != 1 else args[0]]


def _name(module: str, qualname: str) -> str:
    return qualname if module == "builtins" else f"{module}:{qualname}"


def _import(name: str) -> Any:
    module, _, qualname = name.rpartition(":")
    try:
        # A loaded module may not be importable: the program's main module, or a file that is served.
        found: Any = sys.modules.get(module or "builtins") or importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        # Of damaged records a name may be anything.
        known = printable(qualname, LONGEST_NAME)
        raise Undecodable(
            f"'{known}' is no longer in the code", remedy=NAMED, stored_name=printable(name, 2 * LONGEST_NAME)
        ) from error
    return found


def _in_memory(name: str) -> Any:
    module, _, qualname = name.rpartition(":")
    found: Any = sys.modules.get(module or "builtins")
    for part in qualname.split("."):
        # Not with getattr: a module may import what it is asked for.
        found = getattr(found, "__dict__", {}).get(part)
    return found


def _alias(kind: type[Any], *modules: str) -> str | None:
    """Return the name by which one of these modules holds a class."""
    for module in modules:
        for attribute, value in list(vars(sys.modules.get(module, types)).items()):
            if value is kind:
                return _name(module if module in sys.modules else "types", attribute)
    return None


def _module_of(function: Any, qualname: str) -> str | None:
    """Return the module of a C function that does not name its own, searched for as pickle does."""
    for name, module in list(sys.modules.items()):
        if name != "__main__" and module is not None and getattr(module, qualname, None) is function:
            return name
    return None


def _or_none(resolve: Any, name: str) -> Any:
    try:
        return resolve(name)
    except Undecodable:
        return None
