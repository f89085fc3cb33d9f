"""Sync attempts, in threads, which nobody can stop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from aiki_task.lifespan import NOTHING, Resources, supply
from aiki_task.payloads import Payload
from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.calling import call_sync
from aiki_worker.executors.outcomes import Outcome
from aiki_worker.watchdog import stack_of_thread


class ThreadExecutor:
    """Runs the functions of sync tasks. `ended` is told on the main loop when the code of one is over."""

    def __init__(
        self, threads: int, ended: Callable[[Attempt], None], resources: Resources = NOTHING
    ) -> None:
        self._threads = threads
        self._running = 0
        self._ended = ended
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aiki-task")

    @property
    def room(self) -> int:
        """How many attempts more could start now."""
        return self._threads - self._running

    def start(self, attempt: Attempt, payload: Payload) -> None:
        """Start it as soon as a thread is free."""
        self._running += 1
        context = contextvars.copy_context()
        context.run(supply, self._resources)
        code = _Thread()
        attempt.follow(code)
        work = self._pool.submit(context.run, code.run, attempt, payload)
        work.add_done_callback(lambda future: self._returned(attempt, future))

    def close(self) -> None:
        """Start nothing more; what runs goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _returned(self, attempt: Attempt, future: Future[Outcome]) -> None:
        """On the attempt's thread."""
        with contextlib.suppress(RuntimeError):  # the main loop is gone
            self._loop.call_soon_threadsafe(self._take, attempt, future)

    def _take(self, attempt: Attempt, future: Future[Outcome]) -> None:
        self._running -= 1
        self._ended(attempt)
        if future.cancelled():
            return
        error = future.exception()
        attempt.finish(future.result() if error is None else attempt.stopped(error))


class _Thread:
    """The code of a sync attempt."""

    __slots__ = ("_ident",)

    def __init__(self) -> None:
        self._ident: int | None = None

    def run(self, attempt: Attempt, payload: Payload) -> Outcome:
        """On a thread."""
        self._ident = threading.get_ident()
        return call_sync(attempt.task, attempt.context, payload)

    def stop(self) -> bool:
        return False

    def stack(self) -> str:
        return "" if self._ident is None else stack_of_thread(self._ident)
