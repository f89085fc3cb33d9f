"""Define tasks, their retries and their payloads."""

from aiki_task.context import TaskContext, current_task
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
from aiki_task.retry import Retry
from aiki_task.task import Task, TaskOptions, task

__all__ = [
    "AikiError",
    "DefinitionError",
    "DurationError",
    "Failure",
    "NotInRunError",
    "PayloadError",
    "PayloadTooLargeError",
    "PayloadTypeError",
    "Retry",
    "Task",
    "TaskContext",
    "TaskFailed",
    "TaskOptions",
    "TaskTimeoutError",
    "UnsupportedTypeError",
    "current_task",
    "task",
]
