#!/usr/bin/env bash
# llama-index-workflows 2.26.1 (PyPI): one workflow, run again and again in one process with the same input, ends now with
# one result and now with another, although nothing in it is random and no time is read.
#
# Its control loop is documented as sequential and deterministic. It keeps the tasks of running steps in a set, and takes
# the first that has ended in the order of that set, which is that of their addresses. So where two steps that return a
# StopEvent have ended when it looks, either result may be the run's. Here that is so behind a third step, which lets the
# loop look once more. One would expect the order in which the steps began, or ended. (How many runs end
# otherwise than most differs from process to process: 8 to 13 in five of them.)
#
# Seen, of 4,000 runs:
#   first: 3988, second: 12
#
# Exits 1 if that is no longer so: all runs end alike.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check llama-index-workflows==2.26.1
"$folder/env/bin/python" - <<'END'
import asyncio
import sys
from collections import Counter

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Race(Workflow):
    @step
    async def ahead(self, ev: StartEvent) -> None:
        return None

    @step
    async def first(self, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return StopEvent(result="first")

    @step
    async def second(self, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(0)
        return StopEvent(result="second")


async def main() -> Counter[str]:
    return Counter([await Race(timeout=5).run() for _ in range(4000)])


seen = asyncio.run(main())
print(", ".join(f"{result}: {count}" for result, count in sorted(seen.items())))
sys.exit(set(seen) != {"first", "second"})
END
