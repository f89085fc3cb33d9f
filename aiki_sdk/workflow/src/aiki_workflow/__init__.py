"""Define workflows; the engine that replays them."""

from aiki_workflow.api import (
    now,
    patched,
    publish,
    random,
    run_info,
    should_continue,
    sleep,
    updates_answered,
    uuid4,
)
from aiki_workflow.definition import ChildRun, IdPolicy, Workflow, WorkflowOptions, workflow
from aiki_workflow.errors import (
    ChildFailed,
    DivergedError,
    NonDeterministicCallError,
    NotDurableError,
    SignalFailed,
    TaskCancelledError,
    UpdateRejected,
    WorkflowBugError,
)
from aiki_workflow.graph import Graph, GraphError, GraphFailed, Node, NodeState, Results
from aiki_workflow.hooks import HookInfo
from aiki_workflow.logs import ReplayFilter
from aiki_workflow.mapping import map  # noqa: A004  the field's word
from aiki_workflow.messages import Query, Update, main, query, update
from aiki_workflow.saga import CompensationFailed, Saga
from aiki_workflow.signals import RemoteRun, Signal, remote_run, signal
from aiki_workflow.traps import untrapped

__all__ = [
    "ChildFailed",
    "ChildRun",
    "CompensationFailed",
    "DivergedError",
    "Graph",
    "GraphError",
    "GraphFailed",
    "HookInfo",
    "IdPolicy",
    "Node",
    "NodeState",
    "NonDeterministicCallError",
    "NotDurableError",
    "Query",
    "RemoteRun",
    "ReplayFilter",
    "Results",
    "Saga",
    "Signal",
    "SignalFailed",
    "TaskCancelledError",
    "Update",
    "UpdateRejected",
    "Workflow",
    "WorkflowBugError",
    "WorkflowOptions",
    "main",
    "map",
    "now",
    "patched",
    "publish",
    "query",
    "random",
    "remote_run",
    "run_info",
    "should_continue",
    "signal",
    "sleep",
    "untrapped",
    "update",
    "updates_answered",
    "uuid4",
    "workflow",
]
