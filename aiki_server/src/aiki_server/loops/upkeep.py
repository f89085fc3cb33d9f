"""Keeps the streams of hints clean: of readers that are gone, and of hints about what is over.

A hint goes with the grant it leads to; one of a run that ended before, in a lane that nobody serves, would stay and count
as work that waits. A reader goes from its group only when it has read nothing that is still to be done: others claim that first.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from aiki_server.loops.membership import Membership
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError

UPKEEP_SECONDS: Final = 10.0
STALE_MS: Final = 5_000
HINTS_MAX: Final = 100
log = structlog.get_logger(__name__)


class Upkeep:
    """Done by the coordinator that sweeps partition 0."""

    def __init__(self, hub: Hub, membership: Membership) -> None:
        self._stores = hub.stores
        self._membership = membership

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            try:
                if 0 in self._membership.partitions:
                    await self.tidy()
            except StoreError as error:
                log.warning("streams cannot be tidied", reason=str(error))

    async def tidy(self) -> None:
        """Once."""
        stores = self._stores
        alive = set(await stores.sessions.coordinators())
        lanes = await stores.queues.lanes()
        for lane in lanes:
            await stores.queues.forget_readers(stores.queues.stream(lane), alive)
        old_ms = stores.clock.now_ms() - STALE_MS
        for lane, (length, oldest_ms) in (await stores.queues.lengths(lanes)).items():
            if length and oldest_ms < old_ms:
                await stores.queues.forget_stale(lane, count=HINTS_MAX)
