"""Durations: `timedelta`, or text like "1d2h3m4s500ms"."""

from __future__ import annotations

import re
from datetime import timedelta

from aiki_task.errors import DurationError

Duration = str | timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def parse(value: Duration) -> timedelta:
    """Read a duration, to the millisecond.

    Raises:
        DurationError: *value* is negative, empty, or not a duration.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise DurationError(value, "it is negative")
        return value
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise DurationError(value, f"it is of type {type(value).__name__}")
    total_ms, position = 0.0, 0
    for part in _PART.finditer(value):
        if part.start() != position:
            break
        total_ms += float(part[1]) * _UNIT_MS[part[2]]
        position = part.end()
    if not value or position != len(value):
        raise DurationError(value, "it has parts that are no number with a unit d, h, m, s or ms")
    try:
        return timedelta(milliseconds=round(total_ms))
    except OverflowError:
        raise DurationError(value, "it is too long") from None


def to_ms(value: timedelta) -> int:
    """Whole milliseconds, rounded to the nearest."""
    return round(value / timedelta(milliseconds=1))
