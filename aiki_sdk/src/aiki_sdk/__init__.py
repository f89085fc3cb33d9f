"""Aiki, a durable workflow engine: what authors of tasks and workflows import.

What speaks to a coordinator is imported at first use, so that authors' modules import fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from aiki_task import AikiError, Failure, Retry, Task, TaskContext, TaskFailed, current_task, task
from aiki_workflow import (
    IdPolicy,
    Signal,
    Workflow,
    now,
    random,
    run_info,
    signal,
    sleep,
    uuid4,
    workflow,
)

if TYPE_CHECKING:
    from aiki_client import Blocking, Client, Run, RunFailedError, RunStalled, RunState, WorkflowIdTaken
    from aiki_sdk import errors
    from aiki_sdk.embedded import run

__all__ = [
    "AikiError",
    "Blocking",
    "Client",
    "Failure",
    "IdPolicy",
    "Retry",
    "Run",
    "RunFailedError",
    "RunStalled",
    "RunState",
    "Signal",
    "Task",
    "TaskContext",
    "TaskFailed",
    "Workflow",
    "WorkflowIdTaken",
    "current_task",
    "errors",
    "now",
    "random",
    "run",
    "run_info",
    "signal",
    "sleep",
    "task",
    "uuid4",
    "workflow",
]

_LATER: Final = {
    "Blocking": "aiki_client",
    "Client": "aiki_client",
    "Run": "aiki_client",
    "RunFailedError": "aiki_client",
    "RunStalled": "aiki_client",
    "RunState": "aiki_client",
    "WorkflowIdTaken": "aiki_client",
    "run": "aiki_sdk.embedded",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("aiki_sdk.errors")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found
