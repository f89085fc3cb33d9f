"""The inputs that a coordinator makes itself, as serialized events: a timer's time has come, a task's is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core.runs import TimerKind

if TYPE_CHECKING:
    from aiki_server.core.runs import DueTimer


def event_of(timer: DueTimer, now_ms: int) -> bytes:
    """What the run is told when this timer fires; for a remote task, when it is out of time."""
    event = history_pb2.Event(time_ms=now_ms)
    match timer.kind:
        case TimerKind.TIMER:
            event.timer_fired.address = timer.address
        case TimerKind.RETRY:
            event.task_retry_due.address = timer.address
        case TimerKind.WAKE:
            return b""
        case TimerKind.TASK:
            event.task_failed.address = timer.address
            failure = event.task_failed.failure
            failure.kind = common_pb2.FAILURE_KIND_TIMEOUT
            failure.type = "TimeoutError"
            failure.message = "the task was not over within its total timeout"
    return event.SerializeToString()
