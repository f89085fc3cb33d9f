"""Every expected error of Aiki under one name; see the trees in the packages that define them.

AikiError
└── EmbeddedEngineError             `aiki_sdk.run` has no engine
├── EmbeddedEngineMissingError  it is not installed, or not made for this system
└── EmbeddedEngineStartError    it did not start
"""

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
from aiki_task.errors import (
    AikiError,
    DefinitionError,
    DurationError,
    Failure,
    NotInRunError,
    PayloadError,
    PayloadTooLargeError,
    PayloadTypeError,
    TaskFailed,
    TaskTimeoutError,
    UnsupportedTypeError,
)
from aiki_workflow.errors import DivergedError, NotDurableError

__all__ = [
    "AikiError",
    "CoordinatorUnavailableError",
    "DefinitionError",
    "DivergedError",
    "DurationError",
    "EmbeddedEngineError",
    "EmbeddedEngineMissingError",
    "EmbeddedEngineStartError",
    "Failure",
    "InvalidArgumentError",
    "NoWorkerError",
    "NotDurableError",
    "NotInRunError",
    "NotStalledError",
    "PayloadError",
    "PayloadTooLargeError",
    "PayloadTypeError",
    "RefusedError",
    "RevisionError",
    "RunClosedError",
    "RunFailedError",
    "RunNotFoundError",
    "RunOutcomeError",
    "RunStalled",
    "SettingsError",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "StoreUnsafeError",
    "TaskFailed",
    "TaskTimeoutError",
    "UnknownVersionError",
    "UnknownWorkflowError",
    "UnsupportedTypeError",
    "WaitTimeoutError",
    "WorkflowIdTaken",
]


class EmbeddedEngineError(AikiError):
    """`aiki_sdk.run` has no engine to run on."""


class EmbeddedEngineMissingError(EmbeddedEngineError):
    """The engine is not installed, or not made for this system."""


class EmbeddedEngineStartError(EmbeddedEngineError):
    """The engine did not start."""
