#!/usr/bin/env bash
# llama-index-workflows 2.26.1 (PyPI): a run that waits for an event is stored with Context.to_dict and restored with
# Context.from_dict by code in which the event's class has moved to another module. The old module still exports it, so
# that its old name imports the same class. The answer is sent, and is lost; the question is asked a second time.
#
# One would expect the wait to be found again: the stored class is read without an error, and the event that is sent is of
# that very class. But the id of a wait that was given none is made of the class's module and name as they are at the
# call. The step, which begins again when the answer comes, looks for its answer under an id that no stored wait has.
# A waiter_id of one's own avoids it.
#
# Seen, the result of the restored run and the questions that it asked:
#   as it was: Ada, 0
#   moved: TimeoutError, 1
#
# Exits 1 if that is no longer so: both get the answer.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check llama-index-workflows==2.26.1
cd "$folder"
env/bin/python - <<'END'
import asyncio
import json
import sys
from types import ModuleType

from workflows import Context, Workflow, step
from workflows.context import JsonSerializer
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

ANSWER = "from workflows.events import HumanResponseEvent\nclass Answer(HumanResponseEvent):\n    text: str\n"
SEEN = {"as it was": ("Ada", 0), "moved": ("TimeoutError", 1)}


def define(name: str, source: str) -> ModuleType:
    sys.modules[name] = module = ModuleType(name)
    exec(source, vars(module))
    return module


def workflow_of(answer: type[HumanResponseEvent]) -> Workflow:
    class Asks(Workflow):
        @step
        async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
            question = InputRequiredEvent(prefix="Your name?")
            got = await ctx.wait_for_event(answer, waiter_event=question, timeout=5)
            return StopEvent(result=got.text)

    return Asks(timeout=20)


async def stored_wait() -> str:
    handler = workflow_of(define("before", ANSWER).Answer).run()
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            break
    stored = json.dumps(handler.ctx.to_dict(serializer=JsonSerializer()))
    await handler.cancel_run()
    return stored


async def restored(case: str) -> tuple[str, int]:
    stored = await stored_wait()
    if case == "moved":
        define("after", ANSWER)
        define("before", "from after import Answer")
    answer = sys.modules["before"].Answer
    workflow = workflow_of(answer)
    handler = workflow.run(ctx=Context.from_dict(workflow, json.loads(stored), serializer=JsonSerializer()))
    await asyncio.sleep(0.5)
    handler.ctx.send_event(answer(text="Ada"))
    events = [event async for event in handler.stream_events()]
    questions = sum(isinstance(event, InputRequiredEvent) for event in events)
    try:
        return str(await handler), questions
    except Exception as error:
        return type(error).__name__, questions


found = {case: asyncio.run(restored(case)) for case in SEEN}
for case, (result, questions) in found.items():
    print(f"{case}: {result}, {questions}")
sys.exit(found != SEEN)
END
