"""Run attempts of tasks: async ones on the main loop, sync ones in threads; count their slots.

Invariant: a slot is taken from an attempt's start until its code has really ended; a sync attempt that
timed out or was cancelled is over for its run at once and for its slot when its thread returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aiki_task.context import TaskContext, enter
from aiki_task.errors import PayloadError
from aiki_task.failures import FailureInfo, from_exception
from aiki_task.payloads import Payload
from aiki_task.task import Task


@dataclass(frozen=True, slots=True)
class Returned:
    """The attempt gave a result."""

    output: Payload
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Raised:
    """The attempt failed with *error*."""

    error: BaseException
    failure: FailureInfo
    duration_ms: int


Outcome = Returned | Raised


class AttemptTimeoutError(TimeoutError):
    """An attempt took longer than it may."""

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"an attempt of task {task!r} took longer than {seconds:g} s")


class Attempt:
    """One attempt under way. `cancel` makes its outcome unwanted."""

    __slots__ = (
        "_begin", "_done", "_future", "_owner", "_timer", "context", "is_over", "task", "timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        owner: Executors,
        task: Task[..., Any],
        context: TaskContext,
        timeout_s: float | None,
        done: Callable[[Attempt, Outcome], None],
    ) -> None:
        self.task = task
        self.context = context
        self.timeout_s = timeout_s
        self.is_over = False
        self._owner = owner
        self._done = done
        self._begin = time.monotonic()
        self._future: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Stop it, as far as it can be stopped; `done` is not called any more."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._future is not None:
            self._future.cancel()

    async def run_async(self, payload: Payload) -> None:
        """The body of an async attempt's asyncio task."""
        outcome = await self._attempt(payload)
        self._owner.ended(self)
        self.finish(outcome)

    async def _attempt(self, payload: Payload) -> Outcome:
        enter(self.context)
        limit = asyncio.timeout(self.timeout_s)
        try:
            args, kwargs = self.task.arguments.decode(payload)
            async with limit:
                value = await self.task.function(*args, **kwargs)
            return Returned(self.task.result.encode(value), self.elapsed_ms())
        except TimeoutError as error:
            return self.raised(self._timeout_error(error) if limit.expired() else error)
        except asyncio.CancelledError as error:
            if self.is_over:
                raise
            return self.raised(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever user code raises is its outcome
            return self.raised(error)

    def run_sync(self, payload: Payload) -> Outcome:
        """The body of a sync attempt, on a thread."""
        enter(self.context)
        try:
            args, kwargs = self.task.arguments.decode(payload)
            value = self.task.function(*args, **kwargs)
            return Returned(self.task.result.encode(value), self.elapsed_ms())
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever user code raises is its outcome
            return self.raised(error)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give a sync attempt its timeout."""
        if self.timeout_s is not None:
            self._timer = loop.call_later(self.timeout_s, self._time_out)

    def follow(self, future: asyncio.Task[None]) -> None:
        """Know the asyncio task of an async attempt."""
        self._future = future

    def finish(self, outcome: Outcome | None) -> None:
        """Tell the outcome, unless it is unwanted."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.is_over and outcome is not None:
            self.is_over = True
            self._done(self, outcome)

    def raised(self, error: BaseException) -> Raised:
        """The outcome of an attempt that ended with *error*."""
        return Raised(error, from_exception(error, attempts=self.context.attempt), self.elapsed_ms())

    def elapsed_ms(self) -> int:
        """How long it has been going on."""
        return int((time.monotonic() - self._begin) * 1000)

    def _time_out(self) -> None:
        self.finish(self.raised(self._timeout_error(None)))

    def _timeout_error(self, cause: BaseException | None) -> AttemptTimeoutError:
        assert self.timeout_s is not None
        error = AttemptTimeoutError(self.task.name, self.timeout_s)
        if cause is not None:
            error.__cause__ = cause.__cause__
        return error


class Executors:
    """Slots, and what runs in them. Made and used on the main loop."""

    def __init__(self, slots: int, threads: int, freed: Callable[[], None]) -> None:
        self.slots = slots
        self._freed = freed
        self._attempts: set[Attempt] = set()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aiki-task")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def free(self) -> int:
        """Slots that nothing runs in."""
        return self.slots - len(self._attempts)

    @property
    def attempts(self) -> int:
        """Attempts whose code has not ended yet."""
        return len(self._attempts)

    def start(
        self,
        task: Task[..., Any],
        payload: Payload,
        context: TaskContext,
        timeout_s: float | None,
        done: Callable[[Attempt, Outcome], None],
    ) -> Attempt:
        """Start an attempt; *done* is called once, on the main loop, unless it is cancelled before."""
        attempt = Attempt(self, task, context, timeout_s, done)
        self._attempts.add(attempt)
        if task.is_async:
            future = self._loop.create_task(attempt.run_async(payload), name=task.name)
            attempt.follow(future)
            self._tasks.add(future)
            future.add_done_callback(lambda future: self._over(attempt, future))
        else:
            work = self._threads.submit(contextvars.copy_context().run, attempt.run_sync, payload)
            work.add_done_callback(lambda future: self._returned(attempt, future))
            attempt.watch(self._loop)
        return attempt

    def ended(self, attempt: Attempt) -> None:
        """The code of *attempt* is over: its slot is free."""
        if attempt in self._attempts:
            self._attempts.discard(attempt)
            self._freed()

    async def close(self) -> None:
        """Cancel what runs and wait for the async part of it; threads cannot be stopped."""
        for attempt in list(self._attempts):
            attempt.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)

    def _over(self, attempt: Attempt, future: asyncio.Task[None]) -> None:
        # One that is cancelled before its first step never gets to say so itself.
        self.ended(attempt)
        self._tasks.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            self._loop.call_exception_handler({"message": "an attempt broke", "exception": error})

    def _returned(self, attempt: Attempt, future: Future[Outcome]) -> None:
        """On the attempt's thread."""
        with contextlib.suppress(RuntimeError):  # the main loop is gone
            self._loop.call_soon_threadsafe(self._take, attempt, future)

    def _take(self, attempt: Attempt, future: Future[Outcome]) -> None:
        self.ended(attempt)
        if future.cancelled():
            return
        error = future.exception()
        attempt.finish(future.result() if error is None else attempt.raised(error))


def is_final(task: Task[..., Any], error: BaseException) -> bool:
    """Whether no retry policy would help: a value that does not fit, or a declared failure."""
    return isinstance(error, (PayloadError, *task.options.raises))
