"""Async attempts, on the main loop."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Final

from aiki_task.lifespan import NOTHING, Resources, supply
from aiki_task.payloads import Payload
from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.calling import call_async
from aiki_worker.executors.outcomes import Outcome

CLOSE_SECONDS_MAX: Final = 2.0


class LoopExecutor:
    """Runs the functions of async tasks. `ended` is told when the code of one is over."""

    def __init__(self, ended: Callable[[Attempt], None], resources: Resources = NOTHING) -> None:
        self._ended = ended
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        # The loop itself keeps weak references only.
        self._running: dict[Attempt, asyncio.Task[None]] = {}

    def start(self, attempt: Attempt, payload: Payload) -> None:
        """Start it."""
        task = self._loop.create_task(self._run(attempt, payload), name=attempt.task.name)
        self._running[attempt] = task
        attempt.follow(_Coroutine(self, attempt, task))

    async def close(self) -> None:
        """Wait, not for long, for those that were cancelled."""
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=CLOSE_SECONDS_MAX)

    async def _run(self, attempt: Attempt, payload: Payload) -> None:
        if self._resources:
            supply(self._resources)
        try:
            outcome: Outcome = await call_async(attempt.task, attempt.context, payload)
        except asyncio.CancelledError as error:
            if attempt.is_over:
                raise
            outcome = attempt.stopped(error)
        self._over(attempt, outcome)

    def _over(self, attempt: Attempt, outcome: Outcome) -> None:
        if self._running.pop(attempt, None) is not None:
            self._ended(attempt)
            attempt.finish(outcome)

    def stopped(self, attempt: Attempt) -> None:
        """It is over without a word: cancelled before its first step, or unwanted."""
        self._over(attempt, attempt.stopped(asyncio.CancelledError()))


class _Coroutine:
    """The code of an async attempt."""

    __slots__ = ("_attempt", "_owner", "_task")

    def __init__(self, owner: LoopExecutor, attempt: Attempt, task: asyncio.Task[None]) -> None:
        self._owner = owner
        self._attempt = attempt
        self._task = task

    def stop(self) -> bool:
        if self._task.cancel():
            self._task.add_done_callback(lambda _: self._owner.stopped(self._attempt))
        return True

    def stack(self) -> str:
        return "".join(
            text for frame in self._task.get_stack() for text in traceback.format_stack(frame, limit=1)
        )
