"""Load TARGET, the user's Python file or module, and find the server or workflows in it."""

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

from workflow_server.errors import StartupError
from workflow_server.execution.exceptions import DuplicateWorkflow
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings

EXPECTED = "expected a WorkflowServer, a Workflow instance, a dict of them, or a function that returns one of these"


class TargetError(StartupError):
    """Raised with a message: TARGET cannot be loaded, or has nothing to serve."""


def load_server(target: str, settings: Settings) -> WorkflowServer:
    """Return the server of TARGET: its own, or one made of its workflows with ``settings``.

    Raises:
        StartupError: as ``load_target``, or a workflow cannot be served.
    """
    found = load_target(target)
    if isinstance(found, WorkflowServer):
        return found
    server = WorkflowServer(settings=settings)
    for name, workflow in found.items():
        server.add_workflow(name, workflow)
    return server


def load_target(target: str) -> WorkflowServer | dict[str, Workflow]:
    """Return the server in TARGET, or its workflows by name, at least one.

    TARGET is ``file.py`` or ``package.module``, optionally followed by ``:attribute``.

    Raises:
        TargetError: the file, module or attribute does not exist, raises, or has nothing to serve.
        DuplicateWorkflow: two workflows have the same name.
    """
    place, separator, attribute = target.partition(":")
    is_file = _looks_like_a_file(place)
    if (separator and not attribute) or not (is_file or all(part.isidentifier() for part in place.split("."))):
        raise TargetError(f"Invalid TARGET '{target}': expected a file, a module, or module:attribute.")
    module = _load_file(place) if is_file else _load_module(place)
    with _blaming(target):
        # Properties, factories and lazy objects run the user's code.
        found = _resolve(module, attribute, target) if attribute else _find(module, target)
    if isinstance(found, WorkflowServer):
        if not found.workflow_names:
            raise TargetError(f"The WorkflowServer of '{target}' has no workflows: add them with add_workflow().")
    elif not found:
        raise TargetError(
            f"'{target}' has no workflows: assign a WorkflowServer, a Workflow instance or a dict of them to a "
            f"variable of the module. A function that returns one of these must be named, as in {place}:make."
        )
    return found


# -- The module --------------------------------------------------------------------------------


def _looks_like_a_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or (place != "" and Path(place).exists())


def _load_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.exists():
        raise TargetError(f"File '{place}' not found: expected the Python file with your workflows.")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise TargetError(f"'{place}' is {kind}: expected the Python file with your workflows.")
    path = path.resolve()
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or name in sys.stdlib_module_names:
        raise TargetError(f"'{place}' has the name of a module of Python or of the server, '{name}'. Rename the file.")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"'{place}' is not a Python file: its name must end in .py.")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    # The journal names event classes by their module: after a restart they must be importable under that name.
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
            f"Module '{place}' not found, neither installed nor in this folder. Did you mean ./{place}.py?"
        ) from None


# -- What is in it -----------------------------------------------------------------------------


def _find(module: ModuleType, target: str) -> WorkflowServer | dict[str, Workflow]:
    """Return the one server of a module, or else all workflows in its public variables."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    servers = {id(value): name for name, value in reversed(public.items()) if isinstance(value, WorkflowServer)}
    if len(servers) > 1:
        names = ", ".join(sorted(servers.values()))
        raise TargetError(f"'{target}' has several WorkflowServers ({names}): choose one with {target}:NAME.")
    if servers:
        server = public[next(iter(servers.values()))]
        assert isinstance(server, WorkflowServer)
        return server
    return _merge([_named(name, value) or [] for name, value in public.items()])


def _resolve(module: ModuleType, attribute: str, target: str) -> WorkflowServer | dict[str, Workflow]:
    """Return the server or workflows in one attribute of a module; a function is called for them."""
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise TargetError(f"'{target}' has no attribute '{attribute}': {EXPECTED}.")
        value = getattr(value, part)
    if isinstance(value, type):
        raise TargetError(f"'{target}' is a class: expected an instance of it in a variable of the module.")
    if iscoroutinefunction(value):
        raise TargetError(f"'{target}' is an async function: {EXPECTED}.")
    if callable(value) and not isinstance(value, (WorkflowServer, Workflow)):
        value = value()
    if isinstance(value, WorkflowServer):
        return value
    workflows = _named(attribute.rpartition(".")[2], value)
    if workflows is None:
        raise TargetError(f"'{target}' is of type '{type(value).__name__}': {EXPECTED}.")
    return _merge([workflows])


def _named(name: str, value: object) -> list[tuple[str, Workflow]] | None:
    """Return the workflows in a variable, each with its name; None where it holds anything else."""
    if isinstance(value, Workflow):
        return [(_explicit_name(value) or name, value)]
    if isinstance(value, Mapping) and all(isinstance(item, Workflow) for item in value.values()):
        return [(str(key), workflow) for key, workflow in value.items()]
    return None


def _explicit_name(workflow: Workflow) -> str | None:
    """Return the ``workflow_name`` of a workflow, None where the engine made one of its class."""
    kind = type(workflow)
    made_of_class = f"{kind.__module__}.{kind.__qualname__}"
    return None if workflow.workflow_name == made_of_class else workflow.workflow_name


def _merge(groups: list[list[tuple[str, Workflow]]]) -> dict[str, Workflow]:
    """Return all workflows by name. One in two variables is served once, under its first name."""
    merged: dict[str, Workflow] = {}
    for name, workflow in (pair for group in groups for pair in group):
        if any(workflow is known for known in merged.values()):
            continue
        if name in merged:
            raise DuplicateWorkflow(name)
        merged[name] = workflow
    return merged


# -- Errors in the user's code -----------------------------------------------------------------


@contextmanager
def _blaming(place: str) -> Iterator[None]:
    """Turn what the user's code raises into a ``TargetError`` with their part of the traceback.

    ``ModuleNotFoundError`` passes through, unless it was the user's own code that imported.
    """
    try:
        yield
    except SystemExit as error:
        raise TargetError(
            f"'{place}' exited with code {error.code!r} while it was loaded. Move what it runs under "
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
