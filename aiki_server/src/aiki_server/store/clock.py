"""One clock: it follows the store's TIME and never goes back."""

from __future__ import annotations

import time


class Clock:
    """Milliseconds since the epoch by the store, as last heard, carried on by this machine's monotonic clock.

    When the store's clock turns out to be behind, this one stands still until the store has caught up, for at
    most the difference. A test moves it with `advance`.
    """

    __slots__ = ("_advanced_ms", "_last_ms", "_offset_ms")

    def __init__(self) -> None:
        self._offset_ms = (time.time() - time.monotonic()) * 1000
        self._advanced_ms = 0
        self._last_ms = 0

    def now_ms(self) -> int:
        now = int(time.monotonic() * 1000 + self._offset_ms) + self._advanced_ms
        self._last_ms = max(self._last_ms, now)
        return self._last_ms

    def heard(self, store_ms: float) -> None:
        """The store said what time it is."""
        self._offset_ms = store_ms - time.monotonic() * 1000

    def advance(self, by_ms: int) -> None:
        """Move the clock on, for tests."""
        self._advanced_ms += by_ms
