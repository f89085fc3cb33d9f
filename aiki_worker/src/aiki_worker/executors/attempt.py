"""One attempt under way: who wants its outcome, and how it is asked to end.

Invariant: `done` is called once, unless the attempt is cancelled before; its slot is another matter, and taken
until its code has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from aiki_task.context import TaskContext
from aiki_task.failures import from_exception
from aiki_task.task import Task
from aiki_worker.executors.outcomes import AttemptTimeoutError, Outcome, Raised


class Code(Protocol):
    """The code of an attempt, wherever it runs."""

    def stop(self) -> bool:
        """Ask it to end; whether it will for sure, and say so by `ended`."""
        ...

    def stack(self) -> str:
        """Where it is right now, for people; empty when that cannot be told."""
        ...


class Attempt:
    """One attempt under way. `cancel` makes its outcome unwanted."""

    __slots__ = (
        "_code",
        "_done",
        "_stopping",
        "_timed_out",
        "begun",
        "context",
        "heartbeat_s",
        "is_over",
        "task",
        "timeout_s",
    )

    def __init__(
        self,
        task: Task[..., Any],
        context: TaskContext,
        timeout_s: float | None,
        heartbeat_s: float | None,
        done: Callable[[Attempt, Outcome], None],
        stopping: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        self.task = task
        self.context = context
        self.timeout_s = timeout_s
        self.heartbeat_s = heartbeat_s
        self.is_over = False
        self.begun = time.monotonic()
        self._done = done
        self._stopping = stopping
        self._timed_out: TimeoutError | None = None
        self._code: Code | None = None

    def follow(self, code: Code) -> None:
        """Know the code, to stop it."""
        self._code = code

    def begin_again(self) -> None:
        """Its time begins now: it had to wait for what it runs in."""
        self.begun = self.context.pulse.beaten_at = time.monotonic()

    def cancel(self) -> None:
        """Stop it, as far as it can be stopped; `done` is not called any more."""
        self.is_over = True
        self._stop()

    def time_out(self, error: TimeoutError | None = None) -> None:
        """Its time is up. Code that ends for sure may clean up before it is told; other code is not waited for."""
        self._timed_out = error or AttemptTimeoutError(self.task.name, self.timeout_s or 0.0)
        if not self._stop():
            self.finish(self.raised(self._timed_out))

    def stack(self) -> str:
        """Where its code is right now, for people."""
        return "" if self._code is None else self._code.stack()

    def finish(self, outcome: Outcome) -> None:
        """Tell the outcome, unless it is unwanted."""
        if not self.is_over:
            self.is_over = True
            self._done(self, outcome)

    def stopped(self, error: BaseException) -> Raised:
        """The outcome of code that ended with *error* because it was stopped: why it was, if it had to be."""
        return self.raised(self._timed_out or error)

    def raised(self, error: BaseException) -> Raised:
        """The outcome of an attempt that ended with *error*."""
        return Raised(error, from_exception(error, attempts=self.context.attempt), self.elapsed_ms)

    @property
    def elapsed_ms(self) -> int:
        """How long it has taken so far."""
        return int((time.monotonic() - self.begun) * 1000)

    def _stop(self) -> bool:
        self.context.pulse.cancelled = True
        self._stopping(self)
        return self._code is not None and self._code.stop()
