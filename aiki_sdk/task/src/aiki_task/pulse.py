"""What an attempt says of itself while it runs, and whether anybody still wants it.

One object for each attempt, between its code and the worker that runs it. Invariant: any thread may use it;
the worker is told once for all beats since it last took what was left.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiki_task.payloads import Payload


class Pulse:
    """The beats of one attempt. `found` is what an earlier attempt left."""

    __slots__ = ("_left", "_notified", "_notify", "beaten_at", "cancelled", "found", "is_async")

    def __init__(self, found: Payload | None = None) -> None:
        self.found = found
        self.cancelled = False
        self.is_async = False
        self.beaten_at = time.monotonic()
        self._left: Payload | None = None
        self._notified = False
        self._notify: Callable[[], None] | None = None

    def connect(self, notify: Callable[[], None], *, is_async: bool) -> None:
        """Have *notify* called, on the thread that beats, when there is something to take."""
        self._notify = notify
        self.is_async = is_async

    def beat(self, checkpoint: Payload | None) -> None:
        """The attempt is alive; *checkpoint* replaces the one before, unless it is None."""
        self.beaten_at = time.monotonic()
        if checkpoint is not None:
            self._left = checkpoint
        if not self._notified and self._notify is not None:
            self._notified = True
            self._notify()

    def take(self) -> Payload | None:
        """The newest checkpoint that was not taken yet; beats notify again from here on."""
        # In this order, so that a beat in between notifies once too often rather than never.
        self._notified = False
        left, self._left = self._left, None
        return left
