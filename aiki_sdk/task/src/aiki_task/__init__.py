"""Define tasks, their retries and their payloads."""

from aiki_task.context import TaskContext, complete_later, current_task, heartbeat
from aiki_task.errors import (
    AikiError,
    AttemptCancelled,
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
from aiki_task.lifespan import Lifespan, lifespan
from aiki_task.retry import Retry
from aiki_task.task import Task, TaskOptions, task

__all__ = [
    "AikiError",
    "AttemptCancelled",
    "DefinitionError",
    "DurationError",
    "Failure",
    "Lifespan",
    "NotInRunError",
    "OutcomeUnknown",
    "PayloadError",
    "PayloadTooLargeError",
    "PayloadTypeError",
    "PlacementError",
    "ProcessDied",
    "ResourceMissingError",
    "Retry",
    "RetryAfter",
    "Task",
    "TaskContext",
    "TaskFailed",
    "TaskOptions",
    "TaskTimeoutError",
    "UnsupportedTypeError",
    "complete_later",
    "current_task",
    "heartbeat",
    "lifespan",
    "task",
]
