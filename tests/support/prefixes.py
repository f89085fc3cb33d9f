"""Whether a run can be picked up at every event of its history: a fresh engine, from every prefix."""

from collections.abc import Sequence
from typing import Any

from aiki_client.history_file import SavedRun
from aiki_workflow import Workflow, events
from aiki_workflow.engine import RunEngine, RunInfo


def assert_every_prefix_goes_on(run: SavedRun, workflow: Workflow[..., Any]) -> None:
    """What a worker that was killed after any event had recorded leads to the commands that are recorded."""
    for length in range(1, len(run.history) + 1):
        issued = _issued_after(run, workflow, length)
        recorded = [event for event in run.history[length:] if isinstance(event, events.COMMANDS)]
        assert issued == recorded, f"{run.workflow} {run.run_id}, picked up after event {length}"


def _issued_after(run: SavedRun, workflow: Workflow[..., Any], length: int) -> Sequence[events.Event]:
    info = RunInfo(
        namespace=run.namespace,
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        workflow=run.workflow,
        version=run.version,
        queue=run.queue,
    )
    engine = RunEngine(workflow, info)
    try:
        issued = list(engine.replay(run.history[:length]))
        for event in run.history[length:]:
            if isinstance(event, events.INPUTS):
                issued += engine.feed(event)
        return issued
    finally:
        engine.close()
