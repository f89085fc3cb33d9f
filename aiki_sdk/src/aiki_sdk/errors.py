"""Every expected error of Aiki under one name; see the trees in the packages that define them.

AikiError
└── EmbeddedEngineError             `aiki_sdk.run` has no engine
├── EmbeddedEngineMissingError  it is not installed, or not made for this system
└── EmbeddedEngineStartError    it did not start
"""

from aiki_client.errors import (
    CoordinatorUnavailableError,
    EventNotFoundError,
    InvalidArgumentError,
    NotRunningError,
    NotStalledError,
    NoWorkerError,
    QueryFailedError,
    QueryRejectedError,
    RefusedError,
    RevisionError,
    RunCancelledError,
    RunClosedError,
    RunFailedError,
    RunNotFoundError,
    RunOutcomeError,
    RunStalled,
    RunTerminatedError,
    RunTimedOutError,
    SettingsError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnsafeError,
    TaskNotFoundError,
    TimerNotFoundError,
    UnknownVersionError,
    UnknownWorkflowError,
    UpdateFailedError,
    WaitTimeoutError,
    WorkflowIdTaken,
)
from aiki_task.errors import (
    AikiError,
    DefinitionError,
    DurationError,
    Failure,
    NotInRunError,
    OutcomeUnknown,
    PayloadError,
    PayloadTooLargeError,
    PayloadTypeError,
    PlacementError,
    ProcessDied,
    ResourceMissingError,
    RetryAfter,
    TaskFailed,
    TaskTimeoutError,
    UnsupportedTypeError,
)
from aiki_workflow.errors import (
    ChildFailed,
    DivergedError,
    NonDeterministicCallError,
    NotDurableError,
    SignalFailed,
    TaskCancelledError,
    UpdateRejected,
)
from aiki_workflow.graph import GraphError, GraphFailed
from aiki_workflow.saga import CompensationFailed

__all__ = [
    "AikiError",
    "ChildFailed",
    "CompensationFailed",
    "CoordinatorUnavailableError",
    "DefinitionError",
    "DivergedError",
    "DurationError",
    "EmbeddedEngineError",
    "EmbeddedEngineMissingError",
    "EmbeddedEngineStartError",
    "EventNotFoundError",
    "Failure",
    "GraphError",
    "GraphFailed",
    "InvalidArgumentError",
    "NoWorkerError",
    "NonDeterministicCallError",
    "NotDurableError",
    "NotInRunError",
    "NotRunningError",
    "NotStalledError",
    "OutcomeUnknown",
    "PayloadError",
    "PayloadTooLargeError",
    "PayloadTypeError",
    "PlacementError",
    "ProcessDied",
    "QueryFailedError",
    "QueryRejectedError",
    "RefusedError",
    "ResourceMissingError",
    "RetryAfter",
    "RevisionError",
    "RunCancelledError",
    "RunClosedError",
    "RunFailedError",
    "RunNotFoundError",
    "RunOutcomeError",
    "RunStalled",
    "RunTerminatedError",
    "RunTimedOutError",
    "SettingsError",
    "SignalFailed",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "StoreUnsafeError",
    "TaskCancelledError",
    "TaskFailed",
    "TaskNotFoundError",
    "TaskTimeoutError",
    "TimerNotFoundError",
    "UnknownVersionError",
    "UnknownWorkflowError",
    "UnsupportedTypeError",
    "UpdateFailedError",
    "UpdateRejected",
    "WaitTimeoutError",
    "WorkflowIdTaken",
]


class EmbeddedEngineError(AikiError):
    """`aiki_sdk.run` has no engine to run on."""


class EmbeddedEngineMissingError(EmbeddedEngineError):
    """The engine is not installed, or not made for this system."""


class EmbeddedEngineStartError(EmbeddedEngineError):
    """The engine did not start."""
