"""Prints the constraints that hold for all of pip's installation reports which are named, one for each Python."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

HEADER = """\
# What scripts/setup installs, pinned for Python {pythons}. Renewed by scripts/lock; not edited by hand.
"""


def versions(report: Path) -> tuple[str, dict[str, str]]:
    """Return the Python of a report, as ``3.12``, and the version of each package that it would install."""
    told = json.loads(report.read_text(encoding="utf-8"))
    packages = {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"]
        for item in told["install"]
        if "dir_info" not in item["download_info"]
    }
    return ".".join(told["environment"]["python_version"].split(".")[:2]), packages


def lines(reports: dict[str, dict[str, str]]) -> list[str]:
    """Return a line for each package, or one for each Python where they differ."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for python, packages in reports.items():
        for name, version in packages.items():
            found[name][python] = version
    constraints = []
    for name, pins in sorted(found.items()):
        if pins.keys() == reports.keys() and len(set(pins.values())) == 1:
            constraints.append(f"{name}=={next(iter(pins.values()))}")
        else:
            constraints += [f'{name}=={version} ; python_version == "{python}"' for python, version in pins.items()]
    return constraints


if __name__ == "__main__":
    reports = dict(versions(Path(name)) for name in sys.argv[1:])
    print(HEADER.format(pythons=", ".join(reports)) + "\n".join(lines(reports)))
