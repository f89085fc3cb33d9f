"""Which coordinators there are, and so which partitions this one sweeps.

Being wrong costs double work or a late sweep, never a wrong result: every sweep is a compare-and-set.
"""

from __future__ import annotations

import asyncio

import structlog

from aiki_server.core.sharing import share_of
from aiki_server.store import Stores
from aiki_server.store.errors import StoreError

log = structlog.get_logger(__name__)


class Membership:
    """`partitions` is this coordinator's share, all of them until others are known; `moved` is set when it changes."""

    def __init__(self, stores: Stores, coordinator_id: str, ttl_seconds: float) -> None:
        self.partitions = list(range(stores.partitions))
        self._stores = stores
        self._coordinator_id = coordinator_id
        self._ttl_seconds = ttl_seconds
        self._alive: frozenset[str] = frozenset()
        self.moved = asyncio.Event()

    @property
    def has_others(self) -> bool:
        """Whether other coordinators were alive when it last looked."""
        return bool(self._alive - {self._coordinator_id})

    def others(self) -> frozenset[str]:
        """Coordinators that are alive, perhaps this one too."""
        return self._alive

    async def run(self) -> None:
        """Say that this coordinator is there, and look who else is, until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.warning("coordinators cannot be read", reason=str(error))
            await asyncio.sleep(self._ttl_seconds / 3)

    async def look(self) -> None:
        """Once."""
        sessions = self._stores.sessions
        await sessions.renew_coordinator(
            coordinator_id=self._coordinator_id, ttl_ms=round(self._ttl_seconds * 1000)
        )
        now_ms = self._stores.clock.now_ms()
        known = await sessions.coordinators()
        alive = frozenset(name for name, until_ms in known.items() if until_ms > now_ms)
        if alive != self._alive:
            self._alive = alive
            self.partitions = share_of(self._coordinator_id, alive, self._stores.partitions)
            self.moved.set()
            log.info("sweeping", partitions=len(self.partitions), coordinators=len(alive))
        long_dead_ms = now_ms - round(self._ttl_seconds * 10_000)
        for name, until_ms in known.items():
            if until_ms < long_dead_ms:
                await sessions.remove_coordinator(coordinator_id=name)

    async def leave(self) -> None:
        """Let the others take over at once."""
        await self._stores.pictures.forget(coordinator_id=self._coordinator_id)
        await self._stores.sessions.remove_coordinator(coordinator_id=self._coordinator_id)
