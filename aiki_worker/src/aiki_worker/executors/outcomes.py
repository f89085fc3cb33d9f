"""What may come of an attempt."""

from __future__ import annotations

from typing import Any

from aiki_task.errors import PayloadError
from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.records import record
from aiki_task.task import Task


@record
class Returned:
    """The attempt gave a result."""

    output: Payload
    duration_ms: int


@record
class Raised:
    """The attempt failed with *error*."""

    error: BaseException
    failure: FailureInfo
    duration_ms: int


@record
class Deferred:
    """The attempt is over; somebody gives its outcome later."""

    duration_ms: int


Outcome = Returned | Raised | Deferred


class AttemptTimeoutError(TimeoutError):
    """An attempt took longer than it may."""

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"an attempt of task {task!r} took longer than {seconds:g} s")


class SilentAttemptError(TimeoutError):
    """An attempt sent no heartbeat for too long."""

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"an attempt of task {task!r} sent no heartbeat for {seconds:g} s")


def is_final(task: Task[..., Any], error: BaseException) -> bool:
    """Whether no retry policy would help: a value that does not fit, or a declared failure."""
    return isinstance(error, (PayloadError, *task.options.raises))
