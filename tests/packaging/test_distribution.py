"""The distribution is complete, and works where nothing else is installed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.plain_http import post_json
from tests.harness.spawning import ROOT, clean_environment
from tests.packaging.conftest import Built


def shipped_files() -> set[str]:
    """The package's files as they are to be found once installed."""
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "workflow_server").rglob("*")
        if path.suffix in {".py", ".sql"} or path.name == "py.typed" or (path.is_file() and "static" in path.parts)
    }
    return package | {f"workflow_server/migrations/{path.name}" for path in (ROOT / "migrations").glob("*.*")}


def test_the_wheel_has_modules_sql_and_the_page_and_no_more(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entry_points = wheel.read(next(n for n in wheel.namelist() if n.endswith("entry_points.txt"))).decode()

    assert names == shipped_files()
    assert {"workflow_server/py.typed", "workflow_server/migrations/0001_initial.sql"} <= names
    assert "workflow-server = workflow_server.cli.main:main" in entry_points


def test_the_sdist_has_what_a_build_and_a_reader_need(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"setup.cfg", "pyproject.toml", "LICENSE", "README.md", "migrations/0001_initial.sql"} <= names


@pytest.mark.slow(30)
@pytest.mark.timeout(400)
def test_the_wheel_serves_from_an_empty_environment(built: Built, tmp_path: Path, start_server: StartServer) -> None:
    bin_folder = tmp_path / "venv" / "bin"
    subprocess.run([sys.executable, "-m", "venv", str(bin_folder.parent)], check=True)
    subprocess.run(
        [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", str(built.wheel)],
        check=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "hello.py").write_bytes((ROOT / "examples/hello.py").read_bytes())

    server = start_server("hello.py", command=(str(bin_folder / "workflow-server"),), cwd=elsewhere)
    answer = post_json(f"{server.url}/workflows/hello/run", {"start_event": {"name": "wheel"}})

    assert answer["result"]["value"]["result"] == "Hello, wheel!"
    assert server.stop() == 0
