"""What heals: timers, dead sessions, and work whose hint was lost. Correctness never depends on who sweeps."""

from __future__ import annotations

import asyncio
import time

import structlog

from aiki_server.core.expiry import Expiry
from aiki_server.core.runs import DueTimer
from aiki_server.loops.mail import event_of
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError

SWEEP_SECONDS = 2.0
HINT_AGAIN_MS = 5_000
log = structlog.get_logger(__name__)


class Timers:
    """Fires timers when they are due: those set here at once, the others found by the sweep."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._armed: dict[tuple[str, str, str], tuple[int, asyncio.TimerHandle]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        partitions = set(range(self._stores.partitions))
        next_sweep = 0.0
        while True:
            try:
                if time.monotonic() >= next_sweep:
                    next_sweep = time.monotonic() + SWEEP_SECONDS
                    await self._arm(partitions)
                moved, self._hub.partitions_moved = self._hub.partitions_moved, set()
                self._hub.timers_moved.clear()
                if moved:
                    await self._arm(moved)
            except StoreError as error:
                log.warning("timers cannot be read", reason=str(error))
            try:
                async with asyncio.timeout(max(next_sweep - time.monotonic(), 0.001)):
                    await self._hub.timers_moved.wait()
            except TimeoutError:
                pass

    async def _arm(self, partitions: set[int]) -> None:
        until_ms = self._stores.clock.now_ms() + round(SWEEP_SECONDS * 2000)
        reads = [self._stores.timers.due(partition=partition, until_ms=until_ms) for partition in partitions]
        for timers in await asyncio.gather(*reads):
            for timer in timers:
                self._arm_one(timer)

    def _arm_one(self, timer: DueTimer) -> None:
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
            later = asyncio.get_running_loop().call_later(
                (timer.due_ms - now_ms) / 1000, self._fire, key, timer
            )
            self._armed[key] = (timer.due_ms, later)
            return
        self._armed.pop(key, None)
        fired = self._stores.timers.fire(timer, event_of(timer, now_ms))
        self._hub.when_done(fired, self._hub.attend_fired)


class Sweeper:
    """Releases what the dead hold, and attends again to what nobody took."""

    def __init__(self, hub: Hub, ttl_seconds: float) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._expiry = Expiry(ttl_seconds)
        self._interval = min(SWEEP_SECONDS, ttl_seconds / 3)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._sweep()
            except StoreError as error:
                self._expiry.read_failed()
                log.warning("the store cannot be swept", reason=str(error))
            await asyncio.sleep(self._interval)

    async def _sweep(self) -> None:
        snapshot = await self._stores.sessions.snapshot()
        now_ms = self._stores.clock.now_ms()
        for incarnation in self._expiry.dead(snapshot, now_ms, time.monotonic()):
            log.warning("a session was not renewed: what it held is given to others", incarnation=incarnation)
            await self._stores.sessions.remove(incarnation=incarnation)
            snapshot.pop(incarnation)
        for partition in range(self._stores.partitions):
            await self._release_orphans(partition, snapshot)
            entries = await self._stores.sweep.ready(partition=partition, before_ms=now_ms - HINT_AGAIN_MS)
            await self._stores.sweep.hinted(partition=partition, entries=entries)
            for entry in entries:
                self._hub.attend(entry.attention)

    async def _release_orphans(self, partition: int, alive: dict[str, int]) -> None:
        for incarnation in await self._stores.sweep.holders(partition=partition):
            if incarnation in alive or (await self._stores.sessions.snapshot()).get(incarnation) is not None:
                continue
            for token in await self._stores.sweep.held(partition=partition, incarnation=incarnation):
                store = self._stores.tasks if token.address else self._stores.runs
                self._hub.released(store.release(token=token, incarnation=incarnation))
