"""The environments that are made for a measurement: those of the peers, and those of other builds of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_QUIETLY = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore")


class NotInstalled(Exception):
    """An environment that cannot be made here; the message is the end of what the installer said."""


@dataclass(frozen=True)
class Build:
    """A build of this project: its interpreter and its folder."""

    python: Path
    folder: Path
    commit: str


def this_build() -> Build:
    """Return the build in whose environment this process runs."""
    return Build(Path(sys.executable), ROOT, commit())


@cache
def commit() -> str:
    """Return the commit of this checkout, as it was at the first call; ``+`` where the code differs from it.

    Files in docs/ and the recorded ratios do not count as code.
    """
    name = _git("rev-parse", "--short", "HEAD") or "unknown"
    return (
        f"{name}+" if _git("status", "--porcelain", "--", ".", ":!docs", ":!scripts/benchmark/baseline.json") else name
    )


def peer(folder: Path, requirement: str) -> Path:
    """Return the interpreter of an environment in ``folder`` that has the requirement; make it where it is missing.

    Raises:
        NotInstalled: the requirement cannot be installed.
    """
    home = folder / requirement.replace("==", "-").replace("[", "-").replace("]", "")
    python, made = home / "bin/python", home / "made"
    if not made.exists():
        print(f"Installing {requirement} into an environment of its own", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        _run([str(python), "-m", "pip", "install", *_QUIETLY, requirement])
        made.touch()
    return python


def other_build(folder: Path, revision: str) -> Build:
    """Return the build of a revision, with an environment of its own; it is made where ``folder`` has none.

    Raises:
        NotInstalled: there is no such revision, or it cannot be installed.
    """
    name = _git("rev-parse", "--short", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not name:
        raise NotInstalled(f"There is no revision '{revision}'.")
    home = folder / f"build-{name}"
    made = home / ".venv/made"
    if not made.exists():
        print(f"Installing the build of {name} into an environment of its own", file=sys.stderr, flush=True)
        home.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", name], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x"], cwd=home, input=archive, check=True)
        environment = {key: value for key, value in os.environ.items() if key != "VENV"}
        _run([str(home / "scripts/setup")], {**environment, "PYTHON": sys.executable})
        made.touch()
    return Build(home / ".venv/bin/python", home, name)


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
