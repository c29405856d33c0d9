"""Results as text: a line for each while it is measured, and the generated part of docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.environments import ROOT
from benchmark.measuring import ENGINE, THIS
from benchmark.results import Result
from benchmark.subjects import PEERS
from benchmark.workload import Workload

PAGE = ROOT / "docs/performance.md"
STORED = ROOT / "docs/performance.ndjson"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"


def number(value: float) -> str:
    """Return a figure with three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.1g}"


def line(result: Result) -> str:
    """Return a result as a few lines for the terminal: figures, CPU times and ratios, each subject on its own."""
    lines = [f"{result.workload} ({result.unit}; CPU ms a {result.per}; {result.repeats} repeats)"]
    for key, figure in result.figures.items():
        ratio = result.ratios.get(key)
        over = f"; this server {ratio.value:.2f}, its CPU {ratio.cpu:.2f} of it" if ratio else ""
        client = f", client {number(figure.client)}" if figure.client else ""
        lines.append(f"  {key:14} {number(figure.value):>9} {result.unit}, CPU {number(figure.cpu)} ms{client}{over}")
    if ENGINE in result.ratios and ENGINE not in result.figures:
        cpu = result.ratios[ENGINE].cpu
        lines.append(f"  CPU {cpu:.3f} of a three-step run of the bare engine (spread {result.spread:.0%})")
    elif ENGINE in result.ratios:
        lines.append(f"  spread of the CPU ratio to the bare engine: {result.spread:.0%}")
    lines += [f"  {key:14} not measured: {why}" for key, why in result.missing.items()]
    return "\n".join(lines)


# -- docs/performance.md -----------------------------------------------------------------------


def stored() -> dict[str, Result]:
    """Return the results that are kept beside the page, by workload."""
    if not STORED.exists():
        return {}
    results = map(Result.read, STORED.read_text(encoding="utf-8").splitlines())
    return {result.workload: result for result in results}


def write_page(results: Iterable[Result], workloads: Sequence[Workload]) -> None:
    """Put these results beside the page, in the place of older ones, and write its generated part anew.

    Whatever stands before and behind that part is kept.
    """
    kept = {**stored(), **{result.workload: result for result in results}}
    known = [kept[workload.name] for workload in workloads if workload.name in kept]
    STORED.write_text("".join(f"{result.line()}\n" for result in known), encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + generated(workloads) + END + rest.partition(END)[2], encoding="utf-8")


def generated(workloads: Sequence[Workload]) -> str:
    """Return the generated part of the page, from the results that are kept."""
    kept = stored()
    known = [(workload, kept[workload.name]) for workload in workloads if workload.name in kept]
    parts = [*_where([result for _, result in known]), "", "### Figures", "", *_figures(known)]
    parts += ["", "### CPU time", "", *_cpu_times(known), "", "### Workloads", "", *_workloads(workloads)]
    return "\n".join(parts) + "\n"


def _where(results: Sequence[Result]) -> list[str]:
    rows = ["| commit | date | machine | load | versions | workloads |", "|---|---|---|---:|---|---|"]
    places: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        place: tuple[str, ...] = (f"`{result.commit}`", result.date, result.machine, result.versions)
        places.setdefault(place, []).append(result)
    for (at, date, machine, versions), here in places.items():
        loads = sorted(result.load for result in here)
        load = f"{loads[0]:.0f} to {loads[-1]:.0f}"
        of = "all" if len(places) == 1 else ", ".join(result.workload for result in here)
        rows.append(f"| {at} | {date} | {machine} | {load} | {versions} | {of} |")
    if passing := [result.workload for result in results if result.scale < 1 or result.repeats < 2]:
        rows += [
            "",
            f"Measured once or with less work than the table says, and not to be quoted: {', '.join(passing)}.",
        ]
    return rows


def _others(known: Sequence[tuple[Workload, Result]]) -> list[str]:
    """Return the keys of builds that are not this one and not a peer."""
    fixed = {ENGINE, THIS, *(peer.key for peer in PEERS)}
    return sorted({key for _, result in known for key in result.figures if key not in fixed})


def _figures(known: Sequence[tuple[Workload, Result]]) -> list[str]:
    others = _others(known)
    columns = [THIS, ENGINE, *others, *(peer.key for peer in PEERS)]
    over = [f"over {key}" for key in columns[1:]]
    rows = [f"| workload | unit | {' | '.join([*columns, *over])} |", "|---|---|" + "---:|" * len([*columns, *over])]
    for workload, result in known:
        cells = [_cell(result, key, "value") for key in columns]
        ratios = [number(result.ratios[key].value) if _comparable(result, key) else "" for key in columns[1:]]
        rows.append(f"| {workload.name} | {result.unit} | {' | '.join([*cells, *ratios])} |")
    return rows


def _cpu_times(known: Sequence[tuple[Workload, Result]]) -> list[str]:
    columns = [THIS, ENGINE, *_others(known), *(peer.key for peer in PEERS)]
    rows = [
        f"| workload | CPU ms a | {' | '.join(columns)} | client | over {ENGINE} | spread |",
        "|---|---|" + "---:|" * (len(columns) + 3),
    ]
    for workload, result in known:
        cells = [_cell(result, key, "cpu") for key in columns]
        ratio = number(result.ratios[ENGINE].cpu) if ENGINE in result.ratios else ""
        if ENGINE not in result.figures and ratio:
            ratio = f"({ratio})"
        client = number(result.figures[THIS].client)
        cells += [client, ratio, f"{result.spread:.0%}"]
        rows.append(f"| {workload.name} | {result.per} | {' | '.join(cells)} |")
    return rows


def _comparable(result: Result, key: str) -> bool:
    return key in result.figures and key in result.ratios


def _cell(result: Result, key: str, column: str) -> str:
    if key not in result.figures:
        return result.missing.get(key, "")
    return number(getattr(result.figures[key], column))


def _workloads(workloads: Sequence[Workload]) -> list[str]:
    rows = ["| workload | measured |", "|---|---|"]
    return rows + [f"| {workload.name} | {workload.told} |" for workload in workloads]
