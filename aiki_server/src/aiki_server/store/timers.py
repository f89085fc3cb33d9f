"""Timers: due → what to do; re-checked and removed in the script of their effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.core.runs import DueTimer, Fired


class TimerStore:
    def due(self, *, partition: int, until_ms: int, count: int = 100) -> Future[list[DueTimer]]:
        """The timers due at or before *until_ms*, earliest first: pass now plus the sweep's interval to arm them."""
        raise NotImplementedError

    def fire(self, timer: DueTimer) -> Future[Fired | None]:
        """None when it is gone or not due (any more); the events it makes are made here."""
        raise NotImplementedError
