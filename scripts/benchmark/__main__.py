"""``scripts/bench``: its options, and what it does."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from benchmark import environments, results, showing
from benchmark.environments import NotInstalled
from benchmark.measuring import THIS, Extent, Failed, Measured, measure
from benchmark.results import Baseline, Result
from benchmark.subjects import PEERS, Subject, of_build, of_peer
from benchmark.workload import Workload
from benchmark.workloads import WORKLOADS, chosen

DESCRIPTION = """\
Measures this server beside the bare engine, its peers, and another build of this project.

Each workload is measured on all of them in turn, several times over. Printed are medians, CPU milliseconds of the
server for each unit of work, and the medians of the ratios of measurements that followed each other. Absolute figures
depend on the machine and on what else it does: quote the ratios.
"""


def main() -> int:
    """Do what the options say, and return the exit code."""
    options = _options()
    if options.list:
        for workload in WORKLOADS:
            print(f"{workload.name:18} {workload.told}")
        return 0
    try:
        return asyncio.run(_run(options))
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


async def _run(options: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    # The servers that run are ended, as they are on Ctrl+C.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    workloads: list[Workload] = options.only or [each for each in WORKLOADS if each.quick or not options.quick]
    extent = Extent(options.repeats, quick=options.quick, scale=options.scale)
    base = os.environ.get("TMPDIR") or tempfile.gettempdir()
    _warn_where_busy()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=base) as temporary:
        try:
            subjects, absent = _subjects(options, options.folder or Path(temporary))
        except NotInstalled as error:
            print(error, file=sys.stderr)
            return 2
        told: list[Result] = []
        baseline = Baseline.read(options.baseline) if options.check else None
        async for result in _results(workloads, subjects, absent, extent, Path(temporary), baseline):
            told.append(result)
            print(showing.line(result), flush=True)
            _keep(told, options)
    return _report(told, baseline) if baseline else 0


def _keep(told: Sequence[Result], options: argparse.Namespace) -> None:
    """Write where the options say what is known so far: the long form takes an hour, and may be interrupted."""
    if options.json:
        options.json.write_text("".join(f"{result.line()}\n" for result in told), encoding="utf-8")
    if options.write_docs:
        showing.write_page(told, WORKLOADS)
    if options.record:
        steady = {workload.name for workload in WORKLOADS if workload.steady}
        Baseline.read(options.baseline).record([each for each in told if each.workload in steady], options.baseline)


def _warn_where_busy() -> None:
    """Say where other programs keep the machine busy: CPU time, too, then depends on them."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        print(
            f"The machine is busy (load {load:.1f} on {cores} cores), and ratios may be off by a fifth. Repeat it when "
            "it is idle, or with a higher priority (nice -n -10).",
            file=sys.stderr,
            flush=True,
        )


async def _results(
    workloads: Sequence[Workload],
    subjects: Sequence[Subject],
    absent: dict[str, str],
    extent: Extent,
    folder: Path,
    baseline: Baseline | None,
) -> AsyncIterator[Result]:
    for workload in workloads:
        measured = await measure(workload, subjects, extent, folder / "1")
        measured.missing.update({key: why for key, why in absent.items() if workload.peers})
        result = results.result(measured, extent)
        if baseline and baseline.lost([result]):
            result = await _again(measured, subjects, extent, folder)
        yield result


async def _again(measured: Measured, subjects: Sequence[Subject], extent: Extent, folder: Path) -> Result:
    """Measure twice more a workload that seems to have lost: all measurements count."""
    for turn in ("2", "3"):
        measured.add(await measure(measured.workload, subjects, extent, folder / turn))
    return results.result(measured, extent)


def _report(told: Sequence[Result], baseline: Baseline) -> int:
    """Print what has lost, and return the exit code."""
    losses = baseline.lost(told)
    for result in losses:
        now, before = result.checked, baseline.ratios[result.workload]
        print(
            f"{result.workload}: CPU time over the bare engine {now.median:.3f} (least {now.least:.3f}), "
            f"recorded {before.median:.3f} (least {before.least:.3f}) at {baseline.commit}"
        )
    unknown = [result.workload for result in told if result.workload not in baseline.ratios]
    if unknown:
        print(f"Not recorded, and not checked: {', '.join(unknown)}")
    if not losses:
        print(f"No ratio has lost more than {results.ALLOWED - 1:.0%} of what is recorded.")
    return 1 if losses else 0


def _subjects(options: argparse.Namespace, folder: Path) -> tuple[list[Subject], dict[str, str]]:
    """Return the servers to measure, and the peers that cannot be installed here, with the reason."""
    found = [of_build(THIS, environments.this_build())]
    absent: dict[str, str] = {}
    if options.against:
        build = environments.other_build(folder, options.against)
        found.append(of_build(build.commit, build))
    for peer in PEERS if options.peers else ():
        try:
            found.append(of_peer(peer, environments.peer(folder, peer.requirement)))
        except NotInstalled as error:
            absent[peer.key] = "not installed"
            print(f"{peer.requirement} cannot be installed: {error}", file=sys.stderr)
    return found, absent


# -- Options -----------------------------------------------------------------------------------


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer workloads, less of each, no peers")
    parser.add_argument(
        "--check",
        action="store_true",
        help="the quick form; exit with 1 where a CPU ratio to the engine grew by more than 15 %% of the recorded one",
    )
    parser.add_argument("--record", action="store_true", help="the quick form; record its CPU ratios in the repository")
    parser.add_argument("--baseline", type=Path, metavar="FILE", default=results.BASELINE, help="the recorded ratios")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these workloads; --list names all")
    parser.add_argument("--list", action="store_true", help="name the workloads, and measure nothing")
    parser.add_argument("--against", metavar="REV", help="measure the build of this revision as well")
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, help="measure the peers as well; the long form does"
    )
    parser.add_argument("--repeats", type=_positive, help="measurements of each; 7 in the quick form, else 3")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the work that each measurement does")
    parser.add_argument("--folder", type=Path, help="keep the environments of peers and other builds here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, a line for each workload")
    parser.add_argument("--write-docs", action="store_true", help="write the results into docs/performance.md")
    options = parser.parse_args()
    options.quick = options.quick or options.check or options.record
    options.repeats = options.repeats or (7 if options.quick else 3)
    options.peers = not options.quick if options.peers is None else options.peers
    if options.folder is not None:
        options.folder = options.folder.resolve()
    if options.only:
        try:
            options.only = chosen(options.only)
        except KeyError as error:
            parser.error(f"there is no workload {error}. --list names all")
    return options


def _positive(text: str) -> int:
    with suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")


if __name__ == "__main__":
    sys.exit(main())
