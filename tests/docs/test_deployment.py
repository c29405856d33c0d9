"""The files of docs/deployment: what they name exists, and systemd accepts them as hardened as the text says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.harness.spawning import ROOT
from workflow_server.cli.main import main
from workflow_server.settings import Settings

FOLDER = ROOT / "docs" / "deployment"
UNITS = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".service", ".timer"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def analyzed(*arguments: str) -> str:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def exposure(unit: str) -> float:
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", analyzed("security", "--offline=true", unit))
    assert found is not None
    return float(found[1])


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@with_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_knows_all_that_a_unit_says(name: str, tmp_path: Path) -> None:
    # In its own place each unit names a command that is not installed here.
    for unit in UNITS:
        text = (FOLDER / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/srv/workflows/.venv/bin/workflow-server", sys.executable))
    assert analyzed("verify", "--man=no", str(tmp_path / name)) == ""


@with_systemd
def test_the_units_are_as_hardened_as_the_text_says() -> None:
    stated = re.search(r"`systemd-analyze security` calls that ([\d.]+)", OPERATIONS)
    assert stated is not None
    assert exposure(str(FOLDER / "workflow-server.service")) <= float(stated[1])
    assert exposure(str(FOLDER / "workflow-server-backup.service")) < 3


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".service")])
def test_the_commands_of_the_units_are_valid(name: str) -> None:
    commands = re.findall(r"\.venv/bin/workflow-server (.*?)'?$", (FOLDER / name).read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        parsed = CliRunner().invoke(main, [*shlex.split(command), "--help"])
        assert parsed.exit_code == 0, parsed.output
        options = set(re.findall(r"--[a-z-]+", command))
        assert options <= set(re.findall(r"--[a-z-]+", parsed.output))


def test_the_image_sets_settings_that_exist() -> None:
    names = re.findall(r"WORKFLOW_SERVER_([A-Z_]+)=", (FOLDER / "Dockerfile").read_text())
    assert set(names) == {"HOST", "PORT", "DB"}
    assert {name.lower() for name in names} <= set(Settings.model_fields)


@pytest.mark.slow(10)
def test_what_the_image_is_made_of_installs(tmp_path: Path) -> None:
    kept = [
        line.removeprefix("!").removesuffix("/**")
        for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for name in kept:
        source, to = ROOT / name, tmp_path / "src" / name
        if source.is_dir():
            shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.parent.mkdir(exist_ok=True)
            shutil.copy(source, to)
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(tmp_path / "src"),
    ]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    listing = python("-m", "zipfile", "-l", str(next(tmp_path.glob("*.whl"))))
    assert "workflow_server/migrations/0001_initial.sql" in listing
    assert "workflow_server/store/sqlite/sql/records.sql" in listing


def test_the_text_names_each_file() -> None:
    text = OPERATIONS + (ROOT / "docs" / "database.md").read_text()
    for path in FOLDER.iterdir():
        named = path.name.removesuffix(".dockerignore")
        assert f"(deployment/{named})" in text, path.name
