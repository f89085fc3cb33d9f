"""When a failed attempt of a remote task is made again: a pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Span(Protocol):
    """A duration."""

    def ToMilliseconds(self) -> int:  # noqa: N802  protobuf's name
        """Whole milliseconds."""
        ...


class Policy(Protocol):
    """A retry policy, as the protocol has it."""

    @property
    def attempts_max(self) -> int: ...
    @property
    def first_delay(self) -> Span: ...
    @property
    def max_delay(self) -> Span: ...
    @property
    def factor(self) -> float: ...
    @property
    def jitter(self) -> float: ...
    @property
    def non_retryable(self) -> Sequence[str]: ...


def next_delay_ms(policy: Policy, attempts_made: int, error_type: str, random: float) -> int | None:
    """Milliseconds until the next attempt; None when there is none.

    *attempts_made* is at least 1, and *random* is uniform in [0, 1).
    """
    if error_type in policy.non_retryable or 0 < policy.attempts_max <= attempts_made:
        return None
    factor = max(policy.factor, 1.0)
    delay_ms: float = policy.first_delay.ToMilliseconds() * factor ** min(attempts_made - 1, 1000 / factor)
    return round(min(delay_ms, policy.max_delay.ToMilliseconds()) * (1 - policy.jitter * random))
