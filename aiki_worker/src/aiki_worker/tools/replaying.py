"""Whether the code here agrees with a history: pure, but for the code itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiki_client.history_file import SavedRun
from aiki_task.errors import AikiError
from aiki_worker.runtime import runtime
from aiki_workflow import DivergedError, Workflow, events
from aiki_workflow.engine import RunEngine, RunInfo

NO_HANDLER = "there is no such workflow in the modules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of replaying one run. `problem` is empty when code and history agree; `line` is "file:line".

    `runtime` is what ran it last, if that is not what runs here: a verdict is about the Python that it was made with.
    """

    run_id: str
    workflow_id: str
    workflow: str
    events: int
    problem: str = ""
    line: str = ""
    runtime: str = ""


def replayed(run: SavedRun, workflows: Mapping[tuple[str, str], Workflow[..., Any]]) -> Verdict:
    """Replay *run* with the code of *workflows*, by name and version."""
    problem, line = _problem(run, workflows.get((run.workflow, run.version)))
    return Verdict(
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        workflow=f"{run.workflow} v{run.version}",
        events=len(run.history),
        problem=problem,
        line=line,
        runtime=run.runtime if run.runtime != runtime() else "",
    )


def _problem(run: SavedRun, workflow: Workflow[..., Any] | None) -> tuple[str, str]:
    if workflow is None:
        return NO_HANDLER, ""
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
        engine.replay(run.history)
    except DivergedError as error:
        return f"the code does {error.issued}, the history has {error.recorded}", error.line
    except AikiError as error:
        return str(error), ""
    else:
        ended = any(isinstance(event, events.ENDINGS) for event in run.history)
        if ended and not engine.closed and not _is_ended_by_coordinator(run):
            return "the history has the end of the run, which the code does not come to", ""
        return "", ""
    finally:
        engine.close()


def _is_ended_by_coordinator(run: SavedRun) -> bool:
    """Its time was up, and no worker was there to tell its code."""
    end = run.history[-1]
    return isinstance(end, events.RunTimedOut) and end.failure.type == "NoWorker"
