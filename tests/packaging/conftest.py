"""A copy of the project as a fresh clone has it, and what is built from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.spawning import ROOT

FILES = ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "setup.cfg")
FOLDERS = ("examples", "migrations", "scripts", "workflow_server")


class Built(NamedTuple):
    """The two distributions."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files in another folder, without anything that was made from them."""
    folder = tmp_path_factory.mktemp("clone")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")
    for name in FILES:
        shutil.copy2(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


@pytest.fixture(scope="session")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of the project, and the wheel that is built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(clone)],
        check=True,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    return Built(next(out.glob("*.whl")), next(out.glob("*.tar.gz")))
