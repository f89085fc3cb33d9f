"""The slots of a worker, and what runs in them.

Invariant: a slot is taken from an attempt's start until its code has really ended; a sync attempt that
timed out or was cancelled is over for its run at once and for its slot when its thread returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiki_task.context import TaskContext
from aiki_task.lifespan import NOTHING, Resources
from aiki_task.payloads import Payload
from aiki_task.pulse import Pulse
from aiki_task.task import Task
from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.child_process import ChildSettings
from aiki_worker.executors.leaks import LEAK_SECONDS, Leaks
from aiki_worker.executors.limits import Limits
from aiki_worker.executors.loop import LoopExecutor
from aiki_worker.executors.outcomes import Outcome
from aiki_worker.executors.processes import ProcessExecutor
from aiki_worker.executors.threads import ThreadExecutor
from aiki_worker.progress import Progress
from aiki_worker.slots import ONE, Need, Slots


class Executors:
    """Made and used on the main loop; `freed` is told when a slot is free again."""

    def __init__(
        self,
        slots: Slots,
        threads: int,
        freed: Callable[[], None],
        *,
        children: ChildSettings | None = None,
        resources: Resources = NOTHING,
    ) -> None:
        self.slots = slots
        self.reserved = 0
        """Slots that what waits already is to have first."""
        self._freed = freed
        self._attempts: dict[Attempt, Need] = {}
        self._loop = asyncio.get_running_loop()
        self._limits = Limits(self._attempts.__contains__)
        self._leaks = Leaks(self._attempts.__contains__, LEAK_SECONDS)
        self._on_loop = LoopExecutor(self._ended, resources)
        self._threads = ThreadExecutor(threads, self._ended, resources)
        self._processes = (
            None if children is None else ProcessExecutor(children, begun=self._begun, ended=self._ended)
        )

    @property
    def free(self) -> int:
        """Slots that nothing runs in."""
        return self.slots.free

    @property
    def attempts(self) -> int:
        """Attempts whose code has not ended yet."""
        return len(self._attempts)

    @property
    def leaked(self) -> int:
        """Attempts whose code goes on although nobody wants it any more."""
        return self._leaks.count

    def has_room(self, task: Task[..., Any], need: Need = ONE, *, reserved: int = 0) -> bool:
        """Whether an attempt of *task* can start now: slots are free beside *reserved* ones, and what it runs in."""
        if not self.slots.fits(need, reserved):
            return False
        if task.options.executor == "process" and self._processes is not None:
            return self._processes.room > 0
        return task.is_async or self._threads.room > 0

    def start(
        self,
        task: Task[..., Any],
        payload: Payload,
        context: TaskContext,
        timeout_s: float | None,
        done: Callable[[Attempt, Outcome], None],
        heartbeat_s: float | None = None,
        need: Need = ONE,
    ) -> Attempt:
        """Start an attempt; *done* is called once, on the main loop, unless it is cancelled before."""
        attempt = Attempt(task, context, timeout_s, heartbeat_s, done, self._leaks.stopping)
        self._attempts[attempt] = need
        self.slots.take(need)
        if task.options.executor == "process" and self._processes is not None:
            self._processes.start(attempt, payload)
            return attempt
        self._limits.begin(attempt)
        executor = self._on_loop if task.is_async else self._threads
        executor.start(attempt, payload)
        return attempt

    def follow(
        self, task: Task[..., Any], pulse: Pulse, tell: Callable[[Payload], None], slowest_s: float
    ) -> None:
        """Have *tell* called on the main loop with new checkpoints of an attempt that is about to start."""
        pulse.connect(Progress(self._loop, pulse, tell, slowest_s).beaten, is_async=task.is_async)

    async def close(self) -> None:
        """Cancel what runs and wait for what can be stopped; threads cannot."""
        for attempt in list(self._attempts):
            attempt.cancel()
        self._threads.close()
        await self._on_loop.close()
        if self._processes is not None:
            await self._processes.close()

    def _begun(self, attempt: Attempt) -> None:
        """The code of *attempt* begins now, after a wait for its process."""
        attempt.begin_again()
        self._limits.begin(attempt)

    def _ended(self, attempt: Attempt) -> None:
        """The code of *attempt* is over: its slot is free."""
        need = self._attempts.pop(attempt, None)
        if need is not None:
            self.slots.give(need)
        self._leaks.ended(attempt)
        self._limits.end(attempt)
        self._freed()
