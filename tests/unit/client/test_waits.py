"""What a waiting run waits for is read from its history."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from aiki_client.cli.waits import waits_for
from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_workflow import events

NOTHING = Payload(b"null")
FAILURE = FailureInfo(type="OSError", message="gone")
STARTED = events.RunStarted(1_000, "f", "1", NOTHING, "f-1", "default")


def _timer(address: str, at: int, due_ms: int) -> events.TimerStarted:
    return events.TimerStarted(at, address, due_ms)


def _shown(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ([STARTED], f"a signal, since {_shown(1_000)}"),
        ([STARTED, _timer("a", 2_000, 9_000)], f"timer a, since {_shown(2_000)}, until {_shown(9_000)}"),
        ([_timer("a", 0, 9_000), events.TimerFired(9_000, "a")], f"a signal, since {_shown(9_000)}"),
        (
            [_timer("a", 0, 9_000), _timer("b", 1_000, 5_000), _timer("c", 1_000, 7_000)],
            f"timer b, since {_shown(1_000)}, until {_shown(5_000)}, and 2 more",
        ),
        (
            [_timer("a", 0, 9_000), _timer("b", 0, 5_000), events.TimerCancelled(1_000, "b")],
            f"timer a, since {_shown(0)}, until {_shown(9_000)}",
        ),
        (
            [events.TaskAttemptFailed(2_000, "t", 1, FAILURE, 8_000, "w")],
            f"retry of t, since {_shown(2_000)}, until {_shown(8_000)}",
        ),
        (
            [
                events.TaskAttemptFailed(2_000, "t", 1, FAILURE, 3_000, "w"),
                events.TaskCompleted(4_000, "t", NOTHING, 2, 0, "w"),
                _timer("a", 5_000, 9_000),
            ],
            f"timer a, since {_shown(5_000)}, until {_shown(9_000)}",
        ),
    ],
)
def test_what_it_waits_for(history: Sequence[events.Event], told: str) -> None:
    """What is due first, or else a signal."""
    assert waits_for(history) == told
