"""TARGET: what may stand there, and what is said when it may not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workflow_server.cli.target import TargetError, load_server, load_target
from workflow_server.execution.exceptions import DuplicateWorkflow, InvalidWorkflowName
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings

WORKFLOW = """
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent
from workflow_server.server import WorkflowServer

class Flow(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=1)
"""

FACTORY = """
def make():
    server = WorkflowServer()
    server.add_workflow("made", Flow())
    return server
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _import_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test imports as a new process would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(code: str, name: str = "my_flows.py", base: str = WORKFLOW) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(base + code)
        return path

    return write


def served(target: str | Path) -> list[str]:
    found = load_target(str(target))
    assert isinstance(found, dict)
    return sorted(found)


def test_a_file_serves_its_public_workflows_by_their_names(write: Write) -> None:
    path = write("first = Flow()\n_hidden = Flow()\nother = Flow(workflow_name='by-name')\n")
    assert served(path) == ["by-name", "first"]


def test_a_workflow_that_two_variables_hold_is_served_once(write: Write) -> None:
    assert served(write("first = Flow()\nalias = first\n")) == ["first"]


def test_a_dict_of_workflows_serves_them_under_its_keys(write: Write) -> None:
    path = write("flows = {'a-b': Flow(), 'c': Flow()}\nunrelated = {'a': 1}\n")
    assert served(path) == served(f"{path}:flows") == ["a-b", "c"]


def test_a_server_in_the_file_is_served_not_the_workflows(write: Write) -> None:
    path = write("flow = Flow()\nserver = WorkflowServer()\nserver.add_workflow('mine', flow)\n")
    assert isinstance(load_target(str(path)), WorkflowServer)
    assert isinstance(load_target(f"{path}:server"), WorkflowServer)
    assert served(f"{path}:flow") == ["flow"]


@pytest.mark.parametrize("returned", ["Flow()", "{'make': Flow()}"])
def test_a_function_is_called_for_what_it_returns(write: Write, returned: str) -> None:
    assert served(f"{write(f'def make(): return {returned}')}:make") == ["make"]


def test_a_factory_may_return_a_server(write: Write) -> None:
    assert isinstance(load_target(f"{write(FACTORY)}:make"), WorkflowServer)


def test_a_file_imports_its_neighbours_and_is_found_by_its_name(write: Write) -> None:
    write("", "neighbour_of_flows.py")
    path = write("from neighbour_of_flows import Flow\nflow = Flow()\n", "sub_flows.py", base="")

    found = load_target(str(path))

    assert isinstance(found, dict)
    assert found["flow"].__class__ is sys.modules["neighbour_of_flows"].Flow
    assert sys.modules["sub_flows"].flow is found["flow"]


def test_a_dotted_module_of_this_folder_is_found(write: Write) -> None:
    write("flow = Flow()", "team/flows_of_team.py")
    assert served("team.flows_of_team") == served("team.flows_of_team:flow") == ["flow"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere.py", "not found"),
        (".", "folder"),
        ("/dev/null", "not a regular file"),
        ("no_such_module_here", "not found"),
        ("json.no_such_module_here", "not found"),
        ("my_flows.py:", "expected a file, a module, or module:attribute"),
        ("", "expected a file, a module, or module:attribute"),
        ("not-a-module", "expected a file, a module, or module:attribute"),
        ("my_flows.py:missing", "no attribute 'missing'"),
        ("my_flows.py:Flow", "class"),
        ("my_flows.py:number", "type 'int'"),
        ("my_flows.py:later", "async"),
        ("my_flows.py:empty", "no workflows"),
        ("json", "no workflows"),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(write: Write, target: str, said: str) -> None:
    write("number = 7\nempty = {}\nasync def later(): return Flow()\n")

    with pytest.raises(TargetError) as refused:
        load_target(target)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_module_with_a_function_alone_says_it_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "only_a_function.py"
    path.write_text("def make(): ...\n")
    with pytest.raises(TargetError, match=r"A function .* must be named, as in .*only_a_function\.py:make"):
        load_target(str(path))


def test_several_servers_are_not_chosen_between(write: Write) -> None:
    path = write("one = WorkflowServer()\ntwo = WorkflowServer()\n")
    with pytest.raises(TargetError, match=r"one, two"):
        load_target(str(path))


@pytest.mark.parametrize("attribute", ["", ":server"])
def test_a_server_without_workflows_is_refused(write: Write, attribute: str) -> None:
    path = write("server = WorkflowServer()\n")
    with pytest.raises(TargetError, match="add_workflow"):
        load_target(f"{path}{attribute}")


def test_two_workflows_of_one_name_are_refused(write: Write) -> None:
    path = write("one = Flow()\ntwo = Flow(workflow_name='one')\n")
    with pytest.raises(DuplicateWorkflow, match="'one'"):
        load_target(str(path))


def test_a_name_that_fits_no_url_is_refused(write: Write) -> None:
    path = write("flows = {'a/b': Flow()}\n")
    with pytest.raises(InvalidWorkflowName, match="'a/b'"):
        load_server(str(path), Settings.load())


@pytest.mark.parametrize("name", ["json.py", "workflows.py", "pydantic.py", "colorsys.py"])
def test_a_file_that_would_hide_a_module_is_refused(write: Write, name: str) -> None:
    with pytest.raises(TargetError, match="Rename the file"):
        load_target(str(write("flow = Flow()", name)))


def test_an_error_in_the_file_shows_the_users_traceback_only(write: Write) -> None:
    path = write("def broken():\n    return 1 / 0\nbroken()\n")

    with pytest.raises(TargetError) as refused:
        load_target(str(path))

    lines = str(refused.value).splitlines()
    frames = [line for line in lines if line.lstrip().startswith("File ")]
    assert len(frames) == 2
    assert all("my_flows.py" in frame for frame in frames)
    assert "ZeroDivisionError" in lines[-1]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module_here", "no_such_module_here"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "__main__"),
        ("Flow(num_concurrent_runs=0)", "num_concurrent_runs"),
    ],
)
def test_what_a_file_raises_is_told_as_its_own(write: Write, code: str, said: str) -> None:
    path = write(f"\n{code}\n")
    with pytest.raises(TargetError, match=r"my_flows\.py") as refused:
        load_target(str(path))
    assert said in str(refused.value)


def test_a_users_missing_import_is_no_missing_target(write: Write) -> None:
    write("import no_such_module_here", "broken_flows.py")
    with pytest.raises(TargetError, match="No module named 'no_such_module_here'"):
        load_target("broken_flows")


@pytest.mark.parametrize("attribute", [":holder.flow", ""])
def test_what_a_property_raises_shows_the_users_code(write: Write, attribute: str) -> None:
    lazy = "class Lazy:\n    @property\n    def __class__(self):\n        raise LookupError('no such setting')\n"
    path = write(
        "class Holder:\n    @property\n    def flow(self):\n        raise LookupError('no such setting')\n"
        f"holder = Holder()\n{lazy if not attribute else ''}{'lazy = Lazy()' if not attribute else ''}\n"
    )
    with pytest.raises(TargetError, match="no such setting") as refused:
        load_target(f"{path}{attribute}")
    assert "my_flows.py" in str(refused.value)
    assert "target.py" not in str(refused.value)


def test_what_a_factory_raises_shows_the_factory(write: Write) -> None:
    path = write("def make():\n    raise LookupError('no such setting')\n")
    with pytest.raises(TargetError, match=r"in make\n") as refused:
        load_target(f"{path}:make")
    assert "target.py" not in str(refused.value)
