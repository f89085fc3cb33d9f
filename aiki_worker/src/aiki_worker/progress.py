"""Brings what attempts tell of how far they are to the main loop, not too often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from aiki_task.payloads import Payload
from aiki_task.pulse import Pulse

FIRST_SECONDS: Final = 1.0


class Progress:
    """Tells the newest checkpoint of one attempt a second after it came, then less and less often.

    `slowest_s` is how long one may wait at most: what goes into a history is to stay short.
    """

    __slots__ = ("_loop", "_pulse", "_seconds", "_slowest_s", "_tell")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pulse: Pulse, tell: Callable[[Payload], None], slowest_s: float
    ) -> None:
        self._loop = loop
        self._pulse = pulse
        self._tell = tell
        self._seconds = FIRST_SECONDS
        self._slowest_s = slowest_s

    def beaten(self) -> None:
        """On the thread of the attempt."""
        with contextlib.suppress(RuntimeError):  # the main loop is gone
            self._loop.call_soon_threadsafe(self._wait)

    def _wait(self) -> None:
        self._loop.call_later(self._seconds, self._take)
        self._seconds = min(2 * self._seconds, self._slowest_s)

    def _take(self) -> None:
        checkpoint = self._pulse.take()
        if checkpoint is not None:
            self._tell(checkpoint)
