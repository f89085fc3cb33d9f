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
from typing import Any, Final

from aiki_task.context import TaskContext, enter
from aiki_task.errors import DeferredOutcome, PayloadError
from aiki_task.failures import FailureInfo, from_exception
from aiki_task.payloads import Payload
from aiki_task.pulse import Pulse
from aiki_task.records import record
from aiki_task.task import Task
from aiki_worker.progress import Progress


@record
class Returned:
    """The attempt gave a result."""

    output: Payload
    duration_ms: int


@record
class Raised:
    """The attempt failed with *error*."""

    error: BaseException
    failure: FailureInfo
    duration_ms: int


@record
class Deferred:
    """The attempt is over; somebody gives its outcome later."""

    duration_ms: int


Outcome = Returned | Raised | Deferred

CLOSE_SECONDS_MAX: Final = 2.0
LIMITS_MAX: Final = 1000


class AttemptTimeoutError(TimeoutError):
    """An attempt took longer than it may."""

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"an attempt of task {task!r} took longer than {seconds:g} s")


class Attempt:
    """One attempt under way. `cancel` makes its outcome unwanted."""

    __slots__ = (
        "_done",
        "_future",
        "_owner",
        "_timed_out",
        "begun",
        "context",
        "is_over",
        "task",
        "timeout_s",
    )

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
        self.begun = time.monotonic()
        self._timed_out: TimeoutError | None = None
        self._future: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Stop it, as far as it can be stopped; `done` is not called any more."""
        self.is_over = True
        self.context.pulse.cancelled = True
        self._stop()

    def time_out(self, error: TimeoutError | None = None) -> None:
        """Its time is up. An async attempt may clean up before it says so; a thread is not waited for."""
        self._timed_out = error or AttemptTimeoutError(self.task.name, self.timeout_s or 0.0)
        self.context.pulse.cancelled = True
        if self._future is None:
            self.finish(self.raised(self._timed_out))
        else:
            self._stop()

    def follow(self, future: asyncio.Task[None]) -> None:
        """Know the asyncio task of an async attempt."""
        self._future = future

    async def run_async(self, payload: Payload) -> None:
        """The body of an async attempt's asyncio task."""
        outcome = await self._attempt(payload)
        self._owner.ended(self)
        self.finish(outcome)

    def run_sync(self, payload: Payload) -> Outcome:
        """The body of a sync attempt, on a thread."""
        enter(self.context)
        try:
            args, kwargs = self.task.arguments.decode(payload)
            value = self.task.function(*args, **kwargs)
            return Returned(self.task.result.encode(value), self._elapsed_ms())
        except DeferredOutcome:
            return Deferred(self._elapsed_ms())
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever user code raises is its outcome
            return self.raised(error)

    def finish(self, outcome: Outcome) -> None:
        """Tell the outcome, unless it is unwanted."""
        if not self.is_over:
            self.is_over = True
            self._done(self, outcome)

    def raised(self, error: BaseException) -> Raised:
        """The outcome of an attempt that ended with *error*."""
        return Raised(error, from_exception(error, attempts=self.context.attempt), self._elapsed_ms())

    async def _attempt(self, payload: Payload) -> Outcome:
        enter(self.context)
        try:
            args, kwargs = self.task.arguments.decode(payload)
            value = await self.task.function(*args, **kwargs)
            return Returned(self.task.result.encode(value), self._elapsed_ms())
        except DeferredOutcome:
            return Deferred(self._elapsed_ms())
        except asyncio.CancelledError as error:
            if self.is_over:
                raise
            return self.raised(self._timed_out or error)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever user code raises is its outcome
            return self.raised(error)

    def _stop(self) -> None:
        if self._future is not None and self._future.cancel():
            # One that is cancelled before its first step never gets to say so itself.
            self._future.add_done_callback(lambda _: self._owner.ended(self))

    def _elapsed_ms(self) -> int:
        return int((time.monotonic() - self.begun) * 1000)


class SilentAttemptError(TimeoutError):
    """An attempt sent no heartbeat for too long."""

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"an attempt of task {task!r} sent no heartbeat for {seconds:g} s")


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


class Executors:
    """Slots, and what runs in them. Made and used on the main loop."""

    def __init__(self, slots: int, threads: int, freed: Callable[[], None]) -> None:
        self.slots = slots
        self._freed = freed
        self._attempts: set[Attempt] = set()
        self._limits: dict[float, _Limit] = {}
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aiki-task")
        # The loop itself keeps weak references only.
        self._futures: dict[Attempt, asyncio.Task[None]] = {}

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
        heartbeat_s: float | None = None,
    ) -> Attempt:
        """Start an attempt; *done* is called once, on the main loop, unless it is cancelled before."""
        attempt = Attempt(self, task, context, timeout_s, done)
        self._attempts.add(attempt)
        if heartbeat_s is not None:
            self._listen(attempt, heartbeat_s)
        if timeout_s is not None:
            self._limit(timeout_s).add(attempt)
        if task.is_async:
            future = self._loop.create_task(attempt.run_async(payload), name=task.name)
            attempt.follow(future)
            self._futures[attempt] = future
        else:
            work = self._threads.submit(contextvars.copy_context().run, attempt.run_sync, payload)
            work.add_done_callback(lambda future: self._returned(attempt, future))
        return attempt

    def follow(
        self, task: Task[..., Any], pulse: Pulse, tell: Callable[[Payload], None], slowest_s: float
    ) -> None:
        """Have *tell* called on the main loop with new checkpoints of an attempt that is about to start."""
        pulse.connect(Progress(self._loop, pulse, tell, slowest_s).beaten, is_async=task.is_async)

    def ended(self, attempt: Attempt) -> None:
        """The code of *attempt* is over: its slot is free."""
        if attempt not in self._attempts:
            return
        self._attempts.discard(attempt)
        self._futures.pop(attempt, None)
        if attempt.timeout_s is not None and (limit := self._limits.get(attempt.timeout_s)) is not None:
            limit.deadlines.pop(attempt, None)
        self._freed()

    async def close(self) -> None:
        """Cancel what runs and wait for the async part of it; threads cannot be stopped."""
        futures = list(self._futures.values())
        for attempt in list(self._attempts):
            attempt.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if futures:
            await asyncio.wait(futures, timeout=CLOSE_SECONDS_MAX)

    def _listen(self, attempt: Attempt, seconds: float) -> None:
        """Give an attempt up when it has been silent for *seconds*."""
        if attempt.is_over or attempt not in self._attempts:
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
