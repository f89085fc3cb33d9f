"""Attempts that nobody wants and whose code goes on: each keeps its slot, and that is said."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from aiki_worker.executors.attempt import Attempt

LEAK_SECONDS: Final = 5.0
"""How long code may go on after it was told to stop before it counts."""

log = logging.getLogger(__name__)


class Leaks:
    """Knows them.

    Args:
        is_running: whether an attempt's code still runs.
        leak_s: how long it may go on after it was told to stop.
    """

    def __init__(self, is_running: Callable[[Attempt], bool], leak_s: float) -> None:
        self._is_running = is_running
        self._leak_s = leak_s
        self._since: dict[Attempt, float] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def count(self) -> int:
        """Slots that are lost to them."""
        return len(self._since)

    def stopping(self, attempt: Attempt) -> None:
        """It was told to stop just now."""
        self._loop.call_later(self._leak_s, self._look, attempt, time.monotonic())

    def ended(self, attempt: Attempt) -> None:
        """Its code has ended."""
        since = self._since.pop(attempt, None)
        if since is not None:
            log.info(
                "task %r of run %s has ended at last, %.1f s after it was told to: its slot is free",
                attempt.task.name,
                attempt.context.run_id,
                time.monotonic() - since,
            )

    def _look(self, attempt: Attempt, told_at: float) -> None:
        if attempt in self._since or not self._is_running(attempt):
            return
        self._since[attempt] = told_at
        log.warning(
            "task %r of run %s goes on although it was told to stop %.1f s ago: it keeps its slot (%d leaked) until it "
            'ends. Call heartbeat() in it, or run it with executor="process", which can be ended by force.\n%s',
            attempt.task.name,
            attempt.context.run_id,
            time.monotonic() - told_at,
            len(self._since),
            attempt.stack(),
        )
