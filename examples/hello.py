r"""The smallest workflow: one step, one answer.

Start the server in one terminal, and ask in another:

    $ workflow-server serve examples/hello.py
    $ curl -s -H 'Content-Type: application/json' localhost:8080/workflows/hello/run \
        -d '{"start_event": {"name": "Ada"}}'
    $ curl -s -X POST localhost:8080/workflows/hello/run
"""

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Greet(StartEvent):
    name: str = "world"


class HelloWorkflow(Workflow):
    @step
    async def greet(self, ev: Greet) -> StopEvent:
        return StopEvent(result=f"Hello, {ev.name}!")


hello = HelloWorkflow()
