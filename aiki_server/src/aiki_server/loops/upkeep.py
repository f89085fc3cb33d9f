"""Takes readers that are gone out of the groups of the streams of hints.

A reader goes from its group only when it has read nothing that is still to be done: others claim that first.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from aiki_server.loops.membership import Membership
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError

UPKEEP_SECONDS: Final = 60.0
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
        for lane in await stores.queues.lanes():
            await stores.queues.forget_readers(stores.queues.stream(lane), alive)
