"""The commands of docs/database.md and of the settings file are run as they stand there, and print what is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.spawning import ROOT, clean_environment
from tests.store.making import event, run_ended, run_started
from workflow_server.store import SqliteWorkflowStore

PAGE = (ROOT / "docs/database.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a database that nobody has open, of a workflow that has ended many times, and with ``backups``."""
    store = SqliteWorkflowStore(tmp_path / "runs.sqlite3")
    await store.open()
    for number, status in enumerate(("completed", "completed", "failed")):
        name = f"ended-{number}"
        await store.append(run_started(name, workflow="nightly"), event(name, 0))
        await store.append(run_ended(name, status="failed" if status == "failed" else "completed"))
    await store.append(run_started("waiting", workflow="nightly"))
    await store.close()
    (tmp_path / "backups").mkdir()
    return tmp_path


def shown_as(shown: str) -> str:
    """A pattern for a line of the page: its numbers stand for any, and blanks for any number of them."""
    numbers = re.sub(r"[0-9][0-9,.]*", "0", shown)
    words = [re.escape(word).replace("0", r"[0-9][0-9,.]*") for word in numbers.split()]
    return r"\s+".join(words).replace("MB", "[kM]B").replace("kB", "[kM]B")


@pytest.mark.slow(8)
def test_the_commands_of_the_page_print_what_it_shows(folder: Path) -> None:
    tool = f"{sys.executable} -m workflow_server"
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) >= 5
    for block in blocks:
        [command] = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
        shown = [line for line in block.splitlines() if not line.startswith("$ ")]
        if " restore " in command:
            (folder / "runs.sqlite3").rename(folder / "moved.sqlite3")
        script = command.replace("workflow-server", tool).replace("/backups/", "backups/")
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout.splitlines()
        assert len(printed) == len(shown), command
        for line, expected in zip(printed, shown, strict=True):
            assert re.fullmatch(shown_as(expected.replace("/backups/", "backups/")), line), (line, expected)


@pytest.mark.parametrize("name", ["backup", "restore", "check", "stats", "vacuum", "purge"])
def test_the_page_names_each_command(name: str) -> None:
    assert f"workflow-server db {name}" in PAGE


def test_the_settings_file_of_the_page_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    found = re.search(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    file = tmp_path / "server.toml"
    file.write_text(found[1])
    file.chmod(0o600)
    [block] = [block for block in BLOCK.findall(text) if "workflow-server settings" in block]
    command, *shown = block.splitlines()
    script = command.removeprefix("$ ").replace("workflow-server", f"{sys.executable} -m workflow_server")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    printed = done.stdout.splitlines()
    assert printed[: len(shown) - 1] == [line for line in shown if line != "…"]
    assert done.stderr == ""
