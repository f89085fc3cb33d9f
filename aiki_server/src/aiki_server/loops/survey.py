"""Looks over this coordinator's share of the partitions, in one pipeline, and tells the loops that act.

`looks` is what was seen last, a few seconds old at most. Correctness never depends on it: what is new was made by
somebody who acts on it at once.
"""

from __future__ import annotations

import asyncio

import structlog

from aiki_server.core.pace import NOTHING, QUIET_SECONDS, Look, next_interval_s
from aiki_server.loops.membership import Membership
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError

AHEAD_MS = round(QUIET_SECONDS * 2000)
"""Timers due this soon are armed; longer than the interval, so that none is due before it was seen."""
RETRY_SECONDS = 0.5
log = structlog.get_logger(__name__)


class Survey:
    """See the module."""

    def __init__(self, hub: Hub, membership: Membership, ttl_seconds: float) -> None:
        self.looks: dict[int, Look] = {}
        self._hub = hub
        self._stores = hub.stores
        self._membership = membership
        self._ttl_s = ttl_seconds
        self._interval_s = 0.0

    def of(self, partition: int) -> Look:
        """What the partition was last seen to hold."""
        return self.looks.get(partition, NOTHING)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.warning("partitions cannot be looked at", reason=str(error))
                self._interval_s = 0.0
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._membership.moved.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Once."""
        self._membership.moved.clear()
        partitions = self._membership.partitions
        sweep = self._stores.sweep
        seen = await asyncio.gather(*(sweep.look(partition=partition) for partition in partitions))
        self.looks = dict(zip(partitions, seen, strict=True))
        self._interval_s = next_interval_s(self._interval_s, seen, self._ttl_s)
        until_ms = self._stores.clock.now_ms() + AHEAD_MS
        for partition, look in self.looks.items():
            if look.timer_ms is not None and look.timer_ms <= until_ms:
                self._hub.timers_changed(partition)
            if look.outbox:
                self._hub.outboxes_moved.add(partition)
                self._hub.outbox_moved.set()
