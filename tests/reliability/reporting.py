"""A pytest plugin: how much an attack does, from which seed, and the table of what was survived.

An attack claims what it survived with the ``survived`` fixture; the claim counts only when its test has passed. With
``--record`` the claims replace those of the same attacks in ``docs/reliability.ndjson``, and the table of
``docs/reliability.md`` is made from that file.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

ROOT = Path(__file__).parent.parent.parent
ATTACKS = Path(__file__).parent
RESULTS = ROOT / "docs" / "reliability.ndjson"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- survived -->\n", "<!-- /survived -->\n"

SEED = 4_711
LONG_TIMEOUT = 5_400
"""Seconds that one test may take in its long form."""


class Extent(NamedTuple):
    """The amount of an attack, and the seed of its random choices."""

    long: bool
    seed: int

    def of(self, *, short: int, long: int) -> int:
        """The one of the two that is asked for."""
        return long if self.long else short


class Survival(NamedTuple):
    """A row of the table: what was done how often, which promises held, and how to do it again."""

    attack: str
    fault: str
    promises: str
    times: int
    unit: str
    figures: str
    seed: int
    long: bool
    test: str
    commit: str

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return f"scripts/reliability {self.attack}{' --long' if self.long else ''} --seed {self.seed}"


class Survived(Protocol):
    """Claims a row: ``survived("kill -9 at random moments", "P1 P2", times=500, unit="kills", figures="…")``."""

    def __call__(self, fault: str, promises: str, *, times: int, unit: str, figures: str = "") -> None: ...


_claims = pytest.StashKey[list[Survival]]()
_survived = pytest.StashKey[list[tuple[int, Survival]]]()
_place = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability")
    group.addoption("--long", action="store_true", help="run the long form of the attacks in tests/reliability")
    group.addoption("--seed", type=int, default=SEED, help=f"where the attacks' chances come from (default {SEED})")
    group.addoption("--record", action="store_true", help="write what was survived to docs/reliability.{ndjson,md}")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_survived] = []
    config.pluginmanager.register(Gathering(config), "survived")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for place, item in enumerate(items):
        item.stash[_place] = place
    if config.getoption("--long"):
        for item in items:
            if item.path.is_relative_to(ATTACKS):
                item.add_marker(pytest.mark.timeout(LONG_TIMEOUT), append=False)


@pytest.fixture(scope="session")
def extent(request: pytest.FixtureRequest) -> Extent:
    """Return the amount to do."""
    return Extent(request.config.getoption("--long"), request.config.getoption("--seed"))


@pytest.fixture
def survived(request: pytest.FixtureRequest, extent: Extent) -> Survived:
    """Claim what this test survives; the claim counts when the test has passed."""
    node: pytest.Item = request.node
    claims = node.stash.setdefault(_claims, [])
    test = f"{node.path.relative_to(ROOT)}::{getattr(node, 'originalname', node.name)}"

    def claim(fault: str, promises: str, *, times: int, unit: str, figures: str = "") -> None:
        attack = node.path.stem.removeprefix("test_")
        claims.append(
            Survival(attack, fault, promises, times, unit, figures, extent.seed, extent.long, test, _commit())
        )

    return claim


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        claims: list[Survival] = item.stash.get(_claims, [])
        # A report travels from a worker of pytest-xdist as JSON, with the attributes that it has.
        vars(report)["survived"] = [[item.stash[_place], *claim] for claim in claims]
    return report


class Gathering:
    """Collects the claims of all reports, in the process that prints the summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._survived = config.stash[_survived]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for place, *row in vars(report).get("survived", ()):
            self._survived.append((place, Survival(*row)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    claims: list[tuple[int, Survival]] = config.stash[_survived]
    rows = [row for _, row in sorted(claims, key=lambda claim: claim[0])]
    if not rows:
        return
    terminalreporter.section("survived")
    for row in rows:
        terminalreporter.write_line(
            f"{row.promises:12} {row.times:,} {row.unit}: {row.fault} ({row.figures}) [{row.command}]"
        )
    if config.getoption("--record"):
        record(rows)


def record(rows: list[Survival]) -> None:
    """Put these rows into the table, in the place of those that the same attacks had."""
    attacks = {row.attack for row in rows}
    kept = [row for row in recorded() if row.attack not in attacks]
    lines = [
        json.dumps(row._asdict(), ensure_ascii=False) for row in sorted([*kept, *rows], key=lambda row: row.attack)
    ]
    RESULTS.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


def recorded() -> list[Survival]:
    """The rows of the table."""
    if not RESULTS.exists():
        return []
    return [Survival(**json.loads(line)) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def table() -> str:
    """The rows as Markdown."""
    lines = ["| fault | promises | survived | figures | to repeat it |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.fault} | {row.promises} | {row.times:,} {row.unit} | {row.figures} | `{row.command}` |"
        for row in recorded()
    ]
    return "".join(f"{line}\n" for line in lines)


def _commit() -> str:
    """The commit that is attacked; ``+`` where the code differs from it. Files recorded in docs/ do not count as
    code."""
    commit = _git("rev-parse", "--short", "HEAD")
    return f"{commit}+" if _git("status", "--porcelain", "--", ".", ":!docs") else commit


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
