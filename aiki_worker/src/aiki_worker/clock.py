"""The store's clock, as near as a worker knows it; it never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable


class StoreClock:
    """Milliseconds since the Unix epoch. `follow` is called by the session thread, `now_ms` by any."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: float | None = None) -> None:
        self._monotonic = monotonic
        self._offset_ms = (time.time() if wall is None else wall) * 1000 - monotonic() * 1000
        self._latest_ms = 0

    def follow(self, store_time_ms: int) -> None:
        """Take over what a coordinator said just now."""
        self._offset_ms = store_time_ms - self._monotonic() * 1000

    def now_ms(self) -> int:
        """Now; at least what was said before."""
        now = int(self._monotonic() * 1000 + self._offset_ms)
        self._latest_ms = max(self._latest_ms, now)
        return self._latest_ms
