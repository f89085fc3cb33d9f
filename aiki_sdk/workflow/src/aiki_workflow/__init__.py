"""Define workflows; the engine that replays them."""

from aiki_workflow.api import now, random, run_info, sleep, uuid4
from aiki_workflow.definition import IdPolicy, Workflow, WorkflowOptions, workflow
from aiki_workflow.errors import DivergedError, NotDurableError, WorkflowBugError
from aiki_workflow.logs import ReplayFilter
from aiki_workflow.signals import Signal, signal

__all__ = [
    "DivergedError",
    "IdPolicy",
    "NotDurableError",
    "ReplayFilter",
    "Signal",
    "Workflow",
    "WorkflowBugError",
    "WorkflowOptions",
    "now",
    "random",
    "run_info",
    "signal",
    "sleep",
    "uuid4",
    "workflow",
]
