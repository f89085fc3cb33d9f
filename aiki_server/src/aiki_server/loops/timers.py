"""Fires timers when they are due: those set here at once, the others found by the survey."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from aiki_server.core.runs import DueTimer, Expired, Fired
from aiki_server.loops.mail import event_of, queue_event_of
from aiki_server.loops.survey import AHEAD_MS
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.outcomes import Outcomes
from aiki_server.store.errors import StoreError
from aiki_server.telemetry.metrics import TIMER_LAG

PAGE = 100
log = structlog.get_logger(__name__)


class Timers:
    """Arms in memory what is due before the next survey; the store decides again when it fires."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._outcomes = Outcomes(hub)
        self._armed: dict[tuple[str, str, str], tuple[int, asyncio.TimerHandle]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._hub.timers_moved.wait()
            moved, self._hub.partitions_moved = self._hub.partitions_moved, set()
            self._hub.timers_moved.clear()
            try:
                await self._arm_all(moved)
            except StoreError as error:
                # The next survey finds them.
                log.warning("timers cannot be read", reason=str(error))

    async def _arm_all(self, partitions: Iterable[int]) -> None:
        until_ms = self._stores.clock.now_ms() + AHEAD_MS
        reads = [
            self._stores.timers.due(partition=partition, until_ms=until_ms, count=PAGE)
            for partition in partitions
        ]
        for timers in await asyncio.gather(*reads):
            for timer in timers:
                self._arm(timer)
            if len(timers) == PAGE:
                # What fires makes room: the rest is read as soon as these are gone.
                self._again_when_fired(timers[-1])

    def _again_when_fired(self, last: DueTimer) -> None:
        seconds = max(last.due_ms - self._stores.clock.now_ms(), 0) / 1000
        partition = int(last.run_id.partition("-")[0])
        asyncio.get_running_loop().call_later(seconds + 0.01, self._hub.timers_changed, partition)

    def _arm(self, timer: DueTimer) -> None:
        key = (timer.kind, timer.run_id, timer.address)
        armed = self._armed.get(key)
        if armed is not None:
            if armed[0] == timer.due_ms:
                return
            armed[1].cancel()
        seconds = max(timer.due_ms - self._stores.clock.now_ms(), 0) / 1000
        handle = asyncio.get_running_loop().call_later(seconds, self._fire, key, timer)
        self._armed[key] = (timer.due_ms, handle)

    def _fire(self, key: tuple[str, str, str], timer: DueTimer) -> None:
        now_ms = self._stores.clock.now_ms()
        if now_ms < timer.due_ms:
            # The loop's clock runs ahead of the store's: what is not due there does not fire.
            seconds = (timer.due_ms - now_ms) / 1000
            later = asyncio.get_running_loop().call_later(seconds, self._fire, key, timer)
            self._armed[key] = (timer.due_ms, later)
            return
        self._armed.pop(key, None)
        TIMER_LAG.record((now_ms - timer.due_ms) / 1000)
        fired = self._stores.timers.fire(timer, event_of(timer, now_ms), queue_event_of(timer, now_ms))
        self._hub.when_done(fired, self._fired)

    def _fired(self, fired: Fired | Expired | None) -> None:
        if isinstance(fired, Expired):
            self._outcomes.expired(fired)
        else:
            self._hub.attend_fired(fired)
