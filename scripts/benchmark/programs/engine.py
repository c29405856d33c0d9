"""The bare engine: runs the workflows of flows.py in this process, as it is told on standard input.

Each line is a JSON object ``{flow, clients, start, total}``; the answer is one, too: seconds and CPU seconds of all
runs together, and the median of a run's own seconds. The output of workflows goes nowhere.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import statistics
import sys
import time
from typing import Any

# It lies beside this program; other programs of this folder run in environments of the peers.
flows = importlib.import_module("flows")


async def measured(flow: str, clients: int, start: dict[str, Any], total: int) -> dict[str, float]:
    """Run the workflow ``total`` times, so many at a time, and read its events as a server would."""
    workflow = getattr(flows, flow)
    each: list[float] = []

    async def client(count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            handler = workflow.run(**start)
            async for _event in handler.stream_events():
                continue
            await handler
            each.append(time.perf_counter() - began)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client((total + n) // clients) for n in range(clients)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "median": statistics.median(each)}


def main() -> None:
    """Answer line by line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with answers, asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(measured(**json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    main()
