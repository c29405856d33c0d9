"""A server that kills itself where its environment says, and a workflow that writes to its store, as a user's may."""

from __future__ import annotations

from datetime import UTC, datetime

from workflows import Workflow, step
from workflows.events import StopEvent

from tests.reliability.killing.kill_points import KillTrigger
from tests.reliability.targets.workload import Begin, begin, workflows
from tests.store.fault_injection import HookedStore
from workflow_server import PersistentHandler, WorkflowServer
from workflow_server.settings import Settings

store = HookedStore(Settings.load().db)
store.hook = KillTrigger.from_environment()

IMPORTED_TOTAL = 1_000


class Imports(Workflow):
    """Brings a completed handler of ``sums`` along from elsewhere; its result is the handler's id."""

    @step
    async def bring(self, ev: Begin) -> StopEvent:
        begin("bring")
        now = datetime.now(UTC)
        handler_id = f"imported-{ev.number}"
        state = {"store_type": "in_memory", "state_type": "DictState", "state_data": {"_data": {"total": "1000"}}}
        handler = PersistentHandler(
            handler_id=handler_id,
            workflow_name="sums",
            status="completed",
            run_id=f"run-of-{handler_id}",
            result=StopEvent(result=IMPORTED_TOTAL),
            started_at=now,
            updated_at=now,
            completed_at=now,
            ctx={"state": state},
        )
        await store.update(handler)
        return StopEvent(result=handler_id)


server = WorkflowServer(workflow_store=store)
for _name, _workflow in {**workflows(), "imports": Imports(timeout=None)}.items():
    server.add_workflow(_name, _workflow)
