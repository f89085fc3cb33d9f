"""Attempts in processes of their own, one at a time in each.

Children are started when there is work for them and kept for more. Invariant: the death of one is the failure of the
one attempt it ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiki_task.payloads import Payload
from aiki_worker.executors.attempt import Attempt
from aiki_worker.executors.child_process import ChildProcess, ChildSettings
from aiki_worker.executors.outcomes import Outcome

CLOSE_SECONDS_MAX: Final = 5.0


class ProcessExecutor:
    """Runs the functions of tasks marked `executor="process"`, in children.

    Args:
        begun: told when an attempt begins in earnest.
        ended: told when the code of an attempt is over.
    """

    def __init__(
        self,
        settings: ChildSettings,
        *,
        begun: Callable[[Attempt], None],
        ended: Callable[[Attempt], None],
    ) -> None:
        self._settings = settings
        self._begun = begun
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._idle: list[ChildProcess] = []
        self._busy: set[ChildProcess] = set()
        self._alive: set[ChildProcess] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._all_gone = asyncio.Event()

    @property
    def room(self) -> int:
        """How many attempts more could start now."""
        return self._settings.processes - len(self._busy)

    def start(self, attempt: Attempt, payload: Payload) -> None:
        """Start it, in a child that waits or in a new one."""
        child = self._idle.pop() if self._idle else self._new()
        self._busy.add(child)
        child.give(attempt, payload)

    async def close(self) -> None:
        """End all children, by force if they take too long."""
        for child in self._idle:
            child.leave()
        for child in self._busy:
            child.terminate()
        self._idle.clear()
        await self._wait_until_gone()
        for child in self._alive:
            child.kill()
        await self._wait_until_gone()

    def _new(self) -> ChildProcess:
        child = ChildProcess(self._settings, begun=self._begun, over=self._over, gone=self._gone)
        self._alive.add(child)
        starting = self._loop.create_task(child.start(), name="start a child process")
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return child

    def _over(self, child: ChildProcess, attempt: Attempt, outcome: Outcome) -> None:
        self._busy.discard(child)
        if child in self._alive and not child.is_doomed:
            if child.attempts < self._settings.attempts_max:
                self._idle.append(child)
            else:
                child.leave()
        self._ended(attempt)
        attempt.finish(outcome)

    def _gone(self, child: ChildProcess) -> None:
        self._alive.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if not self._alive:
            self._all_gone.set()

    async def _wait_until_gone(self) -> None:
        if self._alive:
            self._all_gone.clear()
            try:
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await self._all_gone.wait()
            except TimeoutError:
                return
