"""Durations, retries and failures: pure decisions."""

from asyncio import CancelledError
from datetime import timedelta
from decimal import Decimal
from typing import Any, Self

import pytest
from hypothesis import given, strategies as st

from aiki_task import (
    DefinitionError,
    DurationError,
    Failure,
    PayloadTypeError,
    Retry,
    TaskFailed,
    TaskTimeoutError,
)
from aiki_task.durations import parse, to_ms
from aiki_task.failures import FailureInfo, from_exception, rebuild, to_exception
from aiki_task.payloads import Payload


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


@given(st.integers(0, 10**12))
def test_durations_round_trip(milliseconds: int) -> None:
    """To the millisecond, whatever the units."""
    days, rest = divmod(milliseconds, 86_400_000)

    assert to_ms(parse(f"{days}d{rest}ms")) == milliseconds
    assert parse(parse(f"{milliseconds}ms")) == timedelta(milliseconds=milliseconds)


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


@pytest.mark.parametrize("factor", [1.0, 1.001, 2.0, 5000.0, 1e300])
def test_delays_never_shrink(factor: float) -> None:
    """Whatever the factor; huge ones reach the limit at once."""
    policy = Retry(None, first="1s", max="1m", factor=factor, jitter=0)

    delays = [policy.delay(attempt, 0) for attempt in (1, 2, 3, 10, 1000, 100_000)]

    assert delays == sorted(delays)
    assert delays[1].total_seconds() == pytest.approx(min(factor, 60))


def test_fixed_delays() -> None:
    """The same each time."""
    assert {Retry.fixed("3s").delay(attempt, 0.9) for attempt in (1, 2, 9)} == {timedelta(seconds=3)}


def test_attempts_are_counted() -> None:
    """Three attempts are two retries; a non-retryable error gets none."""
    policy = Retry(3, non_retryable=(ValueError,))

    assert [policy.allows(made, OSError()) for made in (1, 2, 3)] == [True, True, False]
    assert not policy.allows(1, UnicodeError())


@pytest.mark.parametrize(
    "options", [{"attempts": 0}, {"factor": 0.5}, {"factor": float("nan")}, {"jitter": 1.5}]
)
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


class Declined(CardDeclined):
    """Not listed itself."""


class OddlyMade(TypeError):
    """Has a `__new__` that cannot be called, and attributes of all kinds."""

    code: Decimal | int

    def __new__(cls, *, code: int) -> Self:
        made = super().__new__(cls)
        made.code = Decimal(code)
        return made

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.plain = [code]

    @property
    def computed(self) -> int:
        return 1


def test_subclass_of_a_declared_exception_comes_back_as_itself() -> None:
    """`except CardDeclined` catches what it would have caught where it was raised."""
    rebuilt = to_exception(from_exception(Declined(card="1", reason=2)), "charge", (CardDeclined,))

    assert type(rebuilt) is Declined


def test_attributes_without_json_are_left_out() -> None:
    """And the others come."""
    info = from_exception(OddlyMade(code=7))

    rebuilt = rebuild(info, OddlyMade)

    assert (str(rebuilt), rebuilt.plain, hasattr(rebuilt, "code")) == ("code 7", [7], False)


def test_os_errors_keep_their_number() -> None:
    """Code asks for `errno` rather than for the text."""
    rebuilt = rebuild(from_exception(FileNotFoundError(2, "no such file", "/x")), FileNotFoundError)

    assert (rebuilt.errno, rebuilt.strerror, rebuilt.filename) == (2, "no such file", "/x")


@pytest.mark.parametrize("details", [b"", b"5", b'{"args": 5, "computed": 2}', b"[" * 100_000])
def test_odd_details_do_no_harm(details: bytes) -> None:
    """Another language's worker may send anything there."""
    info = FailureInfo(type="OddlyMade", message="told", details=Payload(details))

    assert str(rebuild(info, OddlyMade)) == "told"


def test_long_and_endless_failures_are_cut() -> None:
    """A failure is recorded, so it has a size."""
    error: Exception = ValueError("x" * 100_000)
    error.__cause__ = error

    info = from_exception(error)

    depth = 0
    cause: FailureInfo | None = info
    while cause is not None:
        assert len(cause.message) < 21_000
        depth, cause = depth + 1, cause.cause
    assert depth == 9


def test_an_exception_that_cannot_be_printed_is_told() -> None:
    """Its author's mistake must not hide it."""

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert from_exception(Unprintable()).message == "<Unprintable whose __str__ fails>"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (CancelledError(), "cancelled"),
        (PayloadTypeError("it", "no"), "payload"),
        (KeyError(), "error"),
    ],
)
def test_kinds(error: BaseException, kind: str) -> None:
    """What kind of failure an exception is, when its holder does not say."""
    assert from_exception(error).kind == kind


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
