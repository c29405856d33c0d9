"""Loading TARGET: the user's Python file or module, and the server that it stands for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from types import ModuleType, TracebackType

from workflows import Workflow

from workflow_server.errors import DuplicateWorkflow, StartupError, TargetError
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings

WHAT_TARGET_IS = "a WorkflowServer, a Workflow instance, a dict of them, or a function that returns one of these"


def load_server(target: str, settings: Settings) -> WorkflowServer:
    """The server that TARGET stands for: its own, or one made of its workflows with ``settings``.

    Raises:
        StartupError: see ``load_target``; or its workflows cannot be served together.
    """
    found = load_target(target)
    if isinstance(found, WorkflowServer):
        return found
    server = WorkflowServer(settings=settings)
    for name, workflow in found.items():
        server.add_workflow(name, workflow)
    return server


def load_target(target: str) -> WorkflowServer | dict[str, Workflow]:
    """Return what is in TARGET: a server, or workflows by name, one at least.

    TARGET is ``file.py`` or ``package.module``, either with ``:attribute`` behind it.

    Raises:
        TargetError: there is no such file, module or attribute, it raised, or there is nothing to serve in it.
        DuplicateWorkflow: two of its workflows have the same name.
    """
    place, separator, attribute = target.partition(":")
    is_file = _looks_like_a_file(place)
    if (separator and not attribute) or not (is_file or all(part.isidentifier() for part in place.split("."))):
        raise TargetError(f"'{target}' is not a TARGET: name a Python file or a module, or module:attribute.")
    module = _load_file(place) if is_file else _load_module(place)
    with _blaming(target):
        # Properties, factories and lazy objects run code of the user's.
        found = _resolve(module, attribute, target) if attribute else _find(module, target)
    if isinstance(found, WorkflowServer):
        if not found.workflow_names:
            raise TargetError(f"The WorkflowServer of '{target}' has no workflows: call its add_workflow first.")
    elif not found:
        raise TargetError(
            f"'{target}' has no workflows: put a WorkflowServer, a Workflow instance or a dict of them into a variable "
            f"of the module. A function that returns one of these has to be named, as in {place}:make."
        )
    return found


# -- The module --------------------------------------------------------------------------------


def _looks_like_a_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or (place != "" and Path(place).exists())


def _load_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.exists():
        raise TargetError(f"There is no file '{place}'. Name the Python file that has your workflows.")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise TargetError(f"'{place}' is {kind}: name the Python file that has your workflows.")
    path = path.resolve()
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or name in sys.stdlib_module_names:
        raise TargetError(f"'{place}' is named like a module of Python or of the server, '{name}'. Rename the file.")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"'{place}' is not a Python file: its name should end in .py.")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    # Event classes are named by their module in the journal: after a restart they must be found again under it.
    sys.modules[name] = module
    with _blaming(place):
        spec.loader.exec_module(module)
    return module


def _load_module(place: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        with _blaming(place):
            return importlib.import_module(place)
    except ModuleNotFoundError:
        raise TargetError(
            f"There is no module '{place}', neither installed nor in this folder. Is ./{place}.py meant?"
        ) from None


# -- What is in it -----------------------------------------------------------------------------


def _find(module: ModuleType, target: str) -> WorkflowServer | dict[str, Workflow]:
    """Return what a module offers without being asked for one of its attributes."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    servers = {id(value): name for name, value in reversed(public.items()) if isinstance(value, WorkflowServer)}
    if len(servers) > 1:
        names = ", ".join(sorted(servers.values()))
        raise TargetError(f"'{target}' has several WorkflowServers ({names}): choose one as {target}:NAME.")
    if servers:
        server = public[next(iter(servers.values()))]
        assert isinstance(server, WorkflowServer)
        return server
    return _merge([_named(name, value) or [] for name, value in public.items()])


def _resolve(module: ModuleType, attribute: str, target: str) -> WorkflowServer | dict[str, Workflow]:
    """Return what one attribute of a module stands for; a function is called."""
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise TargetError(f"'{target}': there is no '{attribute}' in it. Name {WHAT_TARGET_IS}.")
        value = getattr(value, part)
    if isinstance(value, type):
        raise TargetError(f"'{target}' is a class: make an instance of it in the module and name that.")
    if iscoroutinefunction(value):
        raise TargetError(f"'{target}' is an async function: give {WHAT_TARGET_IS}.")
    if callable(value) and not isinstance(value, (WorkflowServer, Workflow)):
        value = value()
    if isinstance(value, WorkflowServer):
        return value
    workflows = _named(attribute.rpartition(".")[2], value)
    if workflows is None:
        raise TargetError(f"'{target}' is of type '{type(value).__name__}': give {WHAT_TARGET_IS}.")
    return _merge([workflows])


def _named(name: str, value: object) -> list[tuple[str, Workflow]] | None:
    """The workflows that a variable holds, each with its name; None where it holds anything else."""
    if isinstance(value, Workflow):
        return [(_explicit_name(value) or name, value)]
    if isinstance(value, Mapping) and all(isinstance(item, Workflow) for item in value.values()):
        return [(str(key), workflow) for key, workflow in value.items()]
    return None


def _explicit_name(workflow: Workflow) -> str | None:
    """The ``workflow_name`` that a workflow was made with; without one the engine makes a name of its class."""
    kind = type(workflow)
    made_of_class = f"{kind.__module__}.{kind.__qualname__}"
    return None if workflow.workflow_name == made_of_class else workflow.workflow_name


def _merge(groups: list[list[tuple[str, Workflow]]]) -> dict[str, Workflow]:
    """All workflows by name. One that two variables hold is served once, under its first name."""
    merged: dict[str, Workflow] = {}
    for name, workflow in (pair for group in groups for pair in group):
        if any(workflow is known for known in merged.values()):
            continue
        if name in merged:
            raise DuplicateWorkflow(name)
        merged[name] = workflow
    return merged


# -- Whose mistake it was ----------------------------------------------------------------------


@contextmanager
def _blaming(place: str) -> Iterator[None]:
    """Turn what the user's code raises into a ``TargetError`` that shows their part of the traceback.

    A module that does not exist is the caller's to report, unless the user's own code imports it.
    """
    try:
        yield
    except SystemExit as error:
        raise TargetError(
            f"'{place}' ended with exit code {error.code!r} while it was loaded. Put what it runs under "
            "if __name__ == '__main__':"
        ) from None
    except StartupError:
        raise
    except Exception as error:
        own = _from_the_users_code_on(error.__traceback__)
        if isinstance(error, ModuleNotFoundError) and own is None:
            raise
        lines = traceback.format_exception(error.with_traceback(own))
        raise TargetError(f"'{place}' could not be loaded:\n{''.join(lines).rstrip()}") from None


def _from_the_users_code_on(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_ours(filename: str) -> bool:
    return filename == __file__ or filename == importlib.__file__ or filename.startswith("<frozen importlib")
