"""What a timer tells its run."""

import pytest

from aiki.v1 import history_pb2
from aiki_server.core.runs import DueTimer, TimerKind
from aiki_server.loops.mail import event_of


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (TimerKind.TIMER, "timer_fired"),
        (TimerKind.RETRY, "task_retry_due"),
        (TimerKind.TASK, "task_failed"),
    ],
)
def test_each_kind_of_timer_has_its_event(kind: TimerKind, field: str) -> None:
    """It names the address, and carries the time at which it was made."""
    timer = DueTimer(kind, "0-0123456789abcdef0123", "charge/abc/1", 5)
    event = history_pb2.Event.FromString(event_of(timer, 7))

    assert (event.time_ms, event.WhichOneof("kind")) == (7, field)
    assert getattr(event, field).address == "charge/abc/1"
