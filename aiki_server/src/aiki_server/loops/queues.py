"""Keeps coordinators of one mind about queues: which lanes are in use, who serves what, what may be forgotten."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from aiki_server.core import queues
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError

LOOK_SECONDS: Final = 0.5
REPORT_SECONDS: Final = 2.0
REPORT_TTL_MS: Final = 30_000
REPORT_AGAIN_SECONDS: Final = 10.0
FORGET_SECONDS: Final = 300.0
FORGET_MS: Final = 3_600_000
log = structlog.get_logger(__name__)


class QueueWatch:
    """One read each half second; one write each two, if something has changed."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._queues = hub.stores.queues
        self._told = ""
        self._told_at = self._report_at = float("-inf")
        self._forget_at = time.monotonic() + FORGET_SECONDS

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look()
            except StoreError as error:
                log.warning("queues cannot be looked at", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        now = time.monotonic()
        self._hub.matching.lanes_are(await self._queues.lanes())
        if now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            await self._report(now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_SECONDS
            before_ms = self._hub.stores.clock.now_ms() - FORGET_MS
            await self._queues.forget_lanes(before_ms=before_ms)

    async def _report(self, now: float) -> None:
        text = queues.encode(self._hub.queues.own_pools())
        if text == self._told and now < self._told_at + REPORT_AGAIN_SECONDS:
            return
        self._told, self._told_at = text, now
        await self._queues.report(coordinator_id=self._hub.coordinator_id, text=text, ttl_ms=REPORT_TTL_MS)
