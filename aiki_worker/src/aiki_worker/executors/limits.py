"""The timeouts of attempts, of one attempt and between its heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.outcomes import SilentAttemptError

LIMITS_MAX: Final = 1000


class Limits:
    """Ends attempts whose time is up. `is_running` says whether an attempt's code still runs."""

    def __init__(self, is_running: Callable[[Attempt], bool]) -> None:
        self._is_running = is_running
        self._limits: dict[float, _Limit] = {}
        self._loop = asyncio.get_running_loop()

    def begin(self, attempt: Attempt) -> None:
        """Its time begins now."""
        if attempt.heartbeat_s is not None:
            self._listen(attempt, attempt.heartbeat_s)
        if attempt.timeout_s is not None:
            self._limit(attempt.timeout_s).add(attempt)

    def end(self, attempt: Attempt) -> None:
        """Its code has ended."""
        if attempt.timeout_s is not None and (limit := self._limits.get(attempt.timeout_s)) is not None:
            limit.deadlines.pop(attempt, None)

    def _listen(self, attempt: Attempt, seconds: float) -> None:
        """Give an attempt up when it has been silent for *seconds*."""
        if attempt.is_over or not self._is_running(attempt):
            return
        # The loop's clock is the monotonic one.
        due = attempt.context.pulse.beaten_at + seconds
        if due <= self._loop.time():
            attempt.time_out(SilentAttemptError(attempt.task.name, seconds))
        else:
            self._loop.call_at(due, self._listen, attempt, seconds)

    def _limit(self, timeout_s: float) -> _Limit:
        limit = self._limits.get(timeout_s)
        if limit is None:
            # Timeouts cut short by a total one are all different: forget those nobody uses.
            if len(self._limits) > LIMITS_MAX:
                self._limits = {key: used for key, used in self._limits.items() if used.deadlines}
            limit = self._limits[timeout_s] = _Limit(self._loop, timeout_s)
        return limit


class _Limit:
    """Attempts with the same timeout, which therefore end in the order in which they began.

    One timer serves them all: an attempt that ends in time costs no timer of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.deadlines: dict[Attempt, float] = {}
        self._loop = loop
        self._seconds = seconds
        self._armed = False

    def add(self, attempt: Attempt) -> None:
        # The loop's clock is the monotonic one.
        deadline = self.deadlines[attempt] = attempt.begun + self._seconds
        if not self._armed:
            self._armed = True
            self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        self._armed = False
        while self.deadlines:
            attempt, deadline = next(iter(self.deadlines.items()))
            if deadline > now:
                self._armed = True
                self._loop.call_at(deadline, self._expire)
                return
            del self.deadlines[attempt]
            attempt.time_out()
