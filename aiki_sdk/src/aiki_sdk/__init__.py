"""Aiki, a durable workflow engine: what authors of tasks and workflows import.

What speaks to a coordinator is imported at first use, so that authors' modules import fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from aiki_task import (
    AikiError,
    Failure,
    Lifespan,
    Retry,
    RetryAfter,
    Task,
    TaskContext,
    TaskFailed,
    complete_later,
    current_task,
    heartbeat,
    lifespan,
    task,
)
from aiki_workflow import (
    ChildFailed,
    ChildRun,
    Graph,
    GraphFailed,
    HookInfo,
    IdPolicy,
    Query,
    Saga,
    Signal,
    TaskCancelledError,
    Update,
    UpdateRejected,
    Workflow,
    main,
    map,  # noqa: A004  the field's word
    now,
    patched,
    publish,
    query,
    random,
    remote_run,
    run_info,
    should_continue,
    signal,
    sleep,
    untrapped,
    update,
    updates_answered,
    uuid4,
    workflow,
)

if TYPE_CHECKING:
    from aiki_client import Blocking, Client, Run, RunFailedError, RunStalled, RunState, Tls, WorkflowIdTaken
    from aiki_sdk import errors
    from aiki_sdk.embedded import run

__all__ = [
    "AikiError",
    "Blocking",
    "ChildFailed",
    "ChildRun",
    "Client",
    "Failure",
    "Graph",
    "GraphFailed",
    "HookInfo",
    "IdPolicy",
    "Lifespan",
    "Query",
    "Retry",
    "RetryAfter",
    "Run",
    "RunFailedError",
    "RunStalled",
    "RunState",
    "Saga",
    "Signal",
    "Task",
    "TaskCancelledError",
    "TaskContext",
    "TaskFailed",
    "Tls",
    "Update",
    "UpdateRejected",
    "Workflow",
    "WorkflowIdTaken",
    "complete_later",
    "current_task",
    "errors",
    "heartbeat",
    "lifespan",
    "main",
    "map",
    "now",
    "patched",
    "publish",
    "query",
    "random",
    "remote_run",
    "run",
    "run_info",
    "should_continue",
    "signal",
    "sleep",
    "task",
    "untrapped",
    "update",
    "updates_answered",
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
    "Tls": "aiki_client",
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
