"""The table of workloads, in the order in which they are measured and shown."""

from __future__ import annotations

from benchmark.runs import Accepted, Runs
from benchmark.stored import Got, Listed, Memory, Resumed, Started
from benchmark.streams import Posted, Published, Streamed
from benchmark.workload import Workload

_KILLED = {"WORKFLOW_SERVER_MAX_ATTEMPTS": "1000"}
"""Runs that are killed in the same step again and again are not put into quarantine."""
_NEVER_RELEASED = {"WORKFLOW_SERVER_IDLE_TIMEOUT": "0"}
_SOON_RELEASED = {"WORKFLOW_SERVER_IDLE_TIMEOUT": "0.5"}


def _chain(clients: int, count: int, quick: int = 0) -> Runs:
    told = f"runs of three steps, each with a published event and a write to the state; {clients} clients"
    return Runs(
        name=f"chain-{clients}",
        told=told,
        unit="runs/s",
        per="run",
        count=count,
        quick=quick,
        flow="three_steps",
        clients=clients,
    )


def _streamed(readers: int, count: int, quick: int = 0, *, sse: bool = False) -> Streamed:
    kind = "SSE" if sse else "NDJSON"
    who = "one reader" if readers == 1 else f"{readers} readers"
    return Streamed(
        name=f"{kind.lower()}-{readers}",
        told=f"a run that publishes {count:,} events, and {who} of {kind}; counted is each event that a reader gets",
        unit="events/s",
        per="event",
        count=count,
        quick=quick,
        readers=readers,
        sse=sse,
    )


def _state(size: str, size_bytes: int, clients: int, count: int) -> Runs:
    return Runs(
        name=f"state-{size.replace(' ', '')}",
        told=f"runs of ten steps, each with one small write to a state of {size}; {clients} clients",
        unit="runs/s",
        per="run",
        count=count,
        flow="heavy",
        clients=clients,
        start={"size": size_bytes},
    )


def _got(name: str, handlers: int, quick: int = 0) -> Got:
    told = f"single handlers, read by 8 clients, of {handlers:,} in the database"
    return Got(
        name=name,
        told=told,
        unit="reads/s",
        per="read",
        count=2_000,
        quick=quick,
        peers=False,
        steady=False,
        handlers=handlers,
    )


def _listed(name: str, handlers: int, count: int, quick: int = 0, *, whole: bool = False, repeats: int = 99) -> Listed:
    what = "all" if whole else "the first 100 handlers where the server has pages, else all,"
    return Listed(
        name=name,
        told=f"the list of handlers: {what} of {handlers:,} in the database, by one client",
        unit="ms",
        per="list",
        count=count,
        quick=quick,
        handlers=handlers,
        whole=whole,
        repeats=repeats,
        peers=False,
    )


def _resumed(count: int) -> Resumed:
    return Resumed(
        name=f"resume-{count}",
        told=f"{count:,} runs that are in a step when the server is killed, from its next start until it is healthy; "
        "the CPU time is that until all steps have begun again",
        unit="s",
        per="run",
        count=count,
        peers=False,
        environment=_KILLED,
    )


def _memory(name: str, flow: str, told: str, environment: dict[str, str], *, released: bool = False) -> Memory:
    return Memory(
        name=f"memory-{name}",
        told=f"2,000 runs {told}: growth of the server's anonymous memory for each, after 2,000 before them",
        unit="kB",
        per="run",
        count=2_000,
        peers=False,
        environment=environment,
        flow=flow,
        released=released,
    )


WORKLOADS: tuple[Workload, ...] = (
    Runs(
        name="echo",
        told="runs of one step; 32 clients",
        unit="runs/s",
        per="run",
        count=1_600,
        quick=320,
        flow="echo",
        clients=32,
    ),
    Runs(
        name="chain-1",
        told="runs of three steps, each with a published event and a write to the state; one client, median of a run",
        unit="ms",
        per="run",
        count=300,
        quick=100,
        steady=False,
        flow="three_steps",
        clients=1,
    ),
    _chain(32, 1_600, 320),
    _chain(128, 1_600),
    Runs(
        name="chain-spans",
        told="the chain with 32 clients, and a span handler attached that counts",
        unit="runs/s",
        per="run",
        count=1_600,
        flow="three_steps",
        clients=32,
        environment={"BENCHMARK_SPANS": "1"},
    ),
    Runs(
        name="chain-verbose",
        told="the chain with 32 clients, of a verbose workflow",
        unit="runs/s",
        per="run",
        count=1_600,
        flow="verbose_steps",
        clients=32,
    ),
    Accepted(
        name="run-nowait",
        told="three-step runs that are accepted, by 32 clients; the CPU time is that until all have ended",
        unit="runs/s",
        per="run",
        count=1_600,
        quick=320,
    ),
    Runs(
        name="loop-200",
        told="runs of 200 steps, one after the other; 32 clients",
        unit="steps/s",
        per="run",
        count=64,
        quick=8,
        flow="loop",
        clients=32,
        start={"steps": 200},
        units=200,
    ),
    Runs(
        name="fan-out-10",
        told="runs that send 10 events to one step and collect its results; 32 clients",
        unit="runs/s",
        per="run",
        count=640,
        quick=96,
        flow="fan_out",
        clients=32,
        start={"parts": 10},
    ),
    Runs(
        name="fan-out-1000",
        told="runs that send 1,000 events to one step and collect its results; one client, median of a run",
        unit="ms",
        per="run",
        count=3,
        peers=False,
        flow="fan_out",
        clients=1,
        start={"parts": 1_000},
    ),
    _state("100 kB", 100_000, 8, 80),
    _state("1 MB", 1_000_000, 4, 12),
    _streamed(1, 30_000, 12_000),
    _streamed(50, 10_000, 3_000),
    _streamed(500, 1_000),
    _streamed(1, 30_000, 12_000, sse=True),
    _streamed(50, 10_000, sse=True),
    _streamed(500, 1_000, sse=True),
    Posted(
        name="posted",
        told="events that 32 clients post to 8 runs; the CPU time is that until the runs have taken them all",
        unit="posts/s",
        per="post",
        count=1_600,
        quick=480,
    ),
    Published(
        name="publish-to-reader",
        told="from the call that publishes an event, one in 5 ms, to its line at an NDJSON reader; median",
        unit="ms",
        per="event",
        count=400,
    ),
    _resumed(200),
    _resumed(2_000),
    _memory("waiting", "waiting", "that wait for an event and stay in memory", _NEVER_RELEASED),
    _memory("released", "waiting", "that wait for an event and are released", _SOON_RELEASED, released=True),
    _memory("running", "stuck", "that are in a step", _NEVER_RELEASED),
    _got("get-1k", 1_000, 1_500),
    _got("get-1M", 1_000_000),
    _listed("page-1k", 1_000, 20, 12),
    _listed("page-1M", 1_000_000, 1, repeats=3),
    _listed("list-10k", 10_000, 3, whole=True),
    Started(
        name="start-1GB",
        told="from the start of the server to its first healthy answer, on a file of 1 GB that was closed well",
        unit="s",
        per="start",
        count=1_000,
        peers=False,
    ),
)


def chosen(names: list[str]) -> list[Workload]:
    """Return the workloads of these names, in the order of the table.

    Raises:
        KeyError: there is no workload of that name.
    """
    known = {workload.name for workload in WORKLOADS}
    for name in names:
        if name not in known:
            raise KeyError(name)
    return [workload for workload in WORKLOADS if workload.name in names]
