"""Notices that a node has another past than the one we knew: it was restarted, or another took its place.

What was acknowledged by replication alone may then be gone, so sessions begin anew and effects are sent again.
"""

from __future__ import annotations

import asyncio


class Failovers:
    """`changed` is set at each change; whoever acts on it clears it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.count = 0
        self._known: set[str] = set()
        self._is_open = False

    def opened(self) -> None:
        """From now on, a past that is not known is a change."""
        self._is_open = True

    def heard(self, replication_id: str) -> None:
        """A node that we have connected to has this replication id."""
        if replication_id in self._known:
            return
        self._known.add(replication_id)
        if self._is_open:
            self.count += 1
            self.changed.set()
