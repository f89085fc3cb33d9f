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
            _timed_out(event, timer.address, "the task was not over within its total timeout")
    return event.SerializeToString()


def queue_event_of(timer: DueTimer, now_ms: int) -> bytes:
    """What the run is told when a remote task has waited too long in its queue; empty for other timers."""
    if timer.kind is not TimerKind.TASK:
        return b""
    event = history_pb2.Event(time_ms=now_ms)
    _timed_out(event, timer.address, "no worker took the task from its queue within its queue timeout")
    return event.SerializeToString()


def _timed_out(event: history_pb2.Event, address: str, message: str) -> None:
    event.task_failed.address = address
    failure = event.task_failed.failure
    failure.kind = common_pb2.FAILURE_KIND_TIMEOUT
    failure.type, failure.message = "TimeoutError", message
