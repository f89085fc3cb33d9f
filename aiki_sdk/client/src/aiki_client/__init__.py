"""Start, watch and steer Aiki workflows; the aiki command."""

from aiki_client.blocking import Blocking
from aiki_client.client import Client
from aiki_client.errors import (
    CoordinatorUnavailableError,
    InvalidArgumentError,
    NotStalledError,
    NoWorkerError,
    RefusedError,
    RevisionError,
    RunClosedError,
    RunFailedError,
    RunNotFoundError,
    RunOutcomeError,
    RunStalled,
    SettingsError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnsafeError,
    UnknownVersionError,
    UnknownWorkflowError,
    WaitTimeoutError,
    WorkflowIdTaken,
)
from aiki_client.runs import Run
from aiki_client.views import RunState, RunView, TaskView

__all__ = [
    "Blocking",
    "Client",
    "CoordinatorUnavailableError",
    "InvalidArgumentError",
    "NoWorkerError",
    "NotStalledError",
    "RefusedError",
    "RevisionError",
    "Run",
    "RunClosedError",
    "RunFailedError",
    "RunNotFoundError",
    "RunOutcomeError",
    "RunStalled",
    "RunState",
    "RunView",
    "SettingsError",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "StoreUnsafeError",
    "TaskView",
    "UnknownVersionError",
    "UnknownWorkflowError",
    "WaitTimeoutError",
    "WorkflowIdTaken",
]
