"""Durations, retries and failures: pure decisions."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from aiki_task import DefinitionError, DurationError, Failure, Retry, TaskFailed, TaskTimeoutError
from aiki_task.durations import parse
from aiki_task.failures import from_exception, to_exception


class CardDeclined(Failure):
    """Has an `__init__` that cannot be called with what it was made of."""

    def __init__(self, *, card: str, reason: int) -> None:
        super().__init__(f"card {card} declined")
        self.card = card
        self.reason = reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1d2h3m4s500ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("0s", timedelta(0)),
        ("1.5h", timedelta(minutes=90)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    """Text reads as it looks."""
    assert parse(text) == expected


@pytest.mark.parametrize("value", ["", "5", "s", "-1s", "1 s", "1x", timedelta(seconds=-1), "9" * 30 + "d"])
def test_bad_durations(value: str | timedelta) -> None:
    """Each is refused, with how to write one."""
    with pytest.raises(DurationError, match="1d2h3m4s500ms"):
        parse(value)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_delays_stay_within_their_limits(attempts: int, random: float) -> None:
    """No delay is longer than the limit or shorter than its jitter allows."""
    policy = Retry(attempts=None, first="1s", max="1m", factor=2.0, jitter=0.2)

    delay = policy.delay(attempts, random)

    assert timedelta(seconds=0.8) <= delay <= timedelta(minutes=1)


def test_exponential_delays() -> None:
    """1, 2, 4 … seconds, up to the limit."""
    policy = Retry(first="1s", max="5s", jitter=0)

    assert [policy.delay(attempt, 0.5).total_seconds() for attempt in (1, 2, 3, 4)] == [1, 2, 4, 5]


def test_fixed_delays() -> None:
    """The same each time."""
    assert {Retry.fixed("3s").delay(attempt, 0.9) for attempt in (1, 2, 9)} == {timedelta(seconds=3)}


def test_attempts_are_counted() -> None:
    """Three attempts are two retries; a non-retryable error gets none."""
    policy = Retry(3, non_retryable=(ValueError,))

    assert [policy.allows(made, OSError()) for made in (1, 2, 3)] == [True, True, False]
    assert not policy.allows(1, UnicodeError())


@pytest.mark.parametrize("options", [{"attempts": 0}, {"factor": 0.5}, {"jitter": 1.5}])
def test_bad_policies(options: dict[str, Any]) -> None:
    """A policy that makes no sense is refused where it is written."""
    with pytest.raises(DefinitionError):
        Retry(**options)


def test_declared_exception_comes_back_as_itself() -> None:
    """With its attributes, without calling `__init__`, and TaskFailed as its cause."""
    rebuilt = to_exception(from_exception(CardDeclined(card="4242", reason=7)), "charge", (CardDeclined,))

    assert isinstance(rebuilt, CardDeclined)
    assert (rebuilt.card, rebuilt.reason, str(rebuilt)) == ("4242", 7, "card 4242 declined")
    assert isinstance(rebuilt.__cause__, TaskFailed)


def test_other_exceptions_come_as_task_failed() -> None:
    """With the type's name, message, traceback, attempts, and the chain of causes."""
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as error:
        failed = to_exception(from_exception(error, attempts=3), "charge")

    assert isinstance(failed, TaskFailed)
    assert (failed.type_name, failed.message, failed.attempts) == ("RuntimeError", "outer", 3)
    assert "outer" in failed.traceback_text
    assert isinstance(failed.__cause__, TaskFailed)
    assert failed.__cause__.type_name == "KeyError"


def test_timeouts_are_timeouts() -> None:
    """`except TimeoutError` catches them."""
    assert isinstance(to_exception(from_exception(TimeoutError("slow")), "charge"), TaskTimeoutError)
