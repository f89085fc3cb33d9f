"""When a failed attempt is made again: pure decisions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from aiki_task.durations import Duration, parse
from aiki_task.errors import DefinitionError


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """A retry policy.

    Args:
        attempts: attempts in all, at least 1; None means without limit. Default 3.
        first: delay before the second attempt. Default 1 s.
        max: no delay is longer. Default 1 min.
        factor: what each delay is multiplied by, at least 1. Default 2.
        jitter: the part of each delay that is random, 0 to 1. Default 0.2.
        non_retryable: exception types (subclasses too) that are not retried.
    """

    attempts: int | None
    first: timedelta
    max: timedelta
    factor: float
    jitter: float
    non_retryable: tuple[type[BaseException], ...]

    def __init__(
        self,
        attempts: int | None = 3,
        *,
        first: Duration = "1s",
        max: Duration = "1m",  # noqa: A002  the field's word
        factor: float = 2.0,
        jitter: float = 0.2,
        non_retryable: tuple[type[BaseException], ...] = (),
    ) -> None:
        if attempts is not None and attempts < 1:
            message = f"a retry policy needs at least 1 attempt, not {attempts}"
            raise DefinitionError(message)
        if not 1 <= factor < math.inf or not 0 <= jitter <= 1:
            message = f"a retry policy needs factor >= 1 and jitter from 0 to 1, not {factor} and {jitter}"
            raise DefinitionError(message)
        values = (attempts, parse(first), parse(max), factor, jitter, tuple(non_retryable))
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def none(cls) -> Retry:
        """One attempt."""
        return cls(1)

    @classmethod
    def fixed(cls, delay: Duration, attempts: int | None = 3) -> Retry:
        """The same delay each time, without jitter."""
        return cls(attempts, first=delay, max=delay, factor=1.0, jitter=0.0)

    def allows(self, attempts_made: int, error: BaseException | None = None) -> bool:
        """Whether another attempt is made after *attempts_made*, the last of which raised *error*."""
        if isinstance(error, self.non_retryable):
            return False
        return self.attempts is None or attempts_made < self.attempts

    def delay(self, attempts_made: int, random: float) -> timedelta:
        """Delay before the next attempt.

        Exponential; jitter takes up to its part away, after Brooker, "Exponential Backoff And
        Jitter" (AWS, 2015).

        Args:
            attempts_made: attempts already made, at least 1.
            random: uniform in [0, 1); passed in so that tests are exact.
        """
        try:
            grown = self.first.total_seconds() * self.factor ** (attempts_made - 1)
        except OverflowError:
            grown = math.inf if self.first else 0.0
        return timedelta(seconds=min(grown, self.max.total_seconds()) * (1 - self.jitter * random))


DEFAULT_RETRY = Retry()
