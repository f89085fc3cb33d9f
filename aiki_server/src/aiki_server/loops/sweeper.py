"""What heals: the dead let go, work whose hint was lost is hinted again, old closed runs are deleted.

Correctness never depends on who sweeps, nor how often.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta

import structlog

from aiki_server.core.expiry import Expiry
from aiki_server.core.poison import is_mass
from aiki_server.core.runs import Attention, ReadyEntry
from aiki_server.loops.losses import Bereaved
from aiki_server.loops.membership import Membership
from aiki_server.loops.survey import Survey
from aiki_server.rpc.hinting import for_anyone
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.matching import lane_for_anyone
from aiki_server.store.errors import StoreError
from aiki_server.telemetry.metrics import LEASES_EXPIRED, SESSIONS_LOST

SWEEP_SECONDS = 2.0
HINT_AGAIN_MS = 5_000
HINT_MARGIN_MS = 1_000
"""A hint counts as gone when the stream's oldest entry is younger than it by this much."""
READY_PAGE = 100
HELD_PAGE = 500
PURGE_SECONDS = 60.0
log = structlog.get_logger(__name__)


class Sweeper:
    """Goes over this coordinator's share of the partitions, all of them in one pipeline."""

    def __init__(
        self, hub: Hub, membership: Membership, survey: Survey, ttl_seconds: float, retention: timedelta
    ) -> None:
        self._hub = hub
        self._survey = survey
        self._stores = hub.stores
        self._membership = membership
        self._expiry = Expiry(ttl_seconds)
        self._interval = min(SWEEP_SECONDS, ttl_seconds / 3)
        self._retention_ms = round(retention / timedelta(milliseconds=1))
        self._bereaved = Bereaved(hub)
        self._looked_at: dict[int, int] = {}
        self._attend_at = self._purge_at = 0.0

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
        now = time.monotonic()
        partitions = self._membership.partitions
        await self._expire(now)
        await self._release_orphans(partitions)
        if now >= self._attend_at:
            self._attend_at = now + HINT_AGAIN_MS / 2000
            await self._attend_again(partitions)
        if now >= self._purge_at:
            self._purge_at = now + PURGE_SECONDS
            await self._purge(partitions)

    async def _expire(self, now: float) -> None:
        snapshot = await self._stores.sessions.snapshot()
        dead = self._expiry.dead(snapshot, self._stores.clock.now_ms(), now)
        for incarnation in dead:
            log.warning("a session was not renewed: what it held is given to others", incarnation=incarnation)
            SESSIONS_LOST.add()
            # Many at once tell of an outage: nobody is blamed for it.
            sessions = self._stores.sessions
            go = sessions.remove if is_mass(len(dead), len(snapshot)) else sessions.lose
            await go(incarnation=incarnation)

    async def _release_orphans(self, partitions: list[int]) -> None:
        """Holders were read before the sessions, so that one which is new is never taken for a dead one."""
        holders = [self._survey.of(partition).holders for partition in partitions]
        alive = await self._stores.sessions.snapshot()
        gone = [
            (partition, incarnation)
            for partition, held_by in zip(partitions, holders, strict=True)
            for incarnation in held_by
            if incarnation not in alive
        ]
        if gone:
            await self._bereaved.look()
        await asyncio.gather(*(self._release_all(*orphaned) for orphaned in gone))

    async def _release_all(self, partition: int, incarnation: str) -> None:
        sweep = self._stores.sweep
        while True:
            held = await sweep.held(partition=partition, incarnation=incarnation, count=HELD_PAGE)
            if not held:
                break
            for token in held:
                LEASES_EXPIRED.add(("task" if token.address else "run",))
            await self._bereaved.take_from(incarnation, held)
        await sweep.forget_holder(partition=partition, incarnation=incarnation)

    async def _attend_again(self, partitions: list[int]) -> None:
        old_ms = self._stores.clock.now_ms() - HINT_AGAIN_MS
        firsts = {partition: self._survey.of(partition).ready_ms for partition in partitions}
        partitions = [
            partition for partition, first in firsts.items() if first is not None and first < old_ms
        ]
        pages = await asyncio.gather(*(self._page(partition) for partition in partitions))
        entries = [entry for page in pages for entry in page]
        oldest = await self._stores.queues.backlog({self._stream(entry) for entry in entries})
        for partition, page in zip(partitions, pages, strict=True):
            lost = [entry for entry in page if self._hint_is_gone(entry, oldest)]
            await self._stores.sweep.hinted(partition=partition, entries=lost)
            for entry in lost:
                self._hub.attend(for_anyone(entry.attention))

    async def _page(self, partition: int) -> list[ReadyEntry]:
        """The next old entries, page after page and round after round, so that none is left out for ever."""
        skip = self._looked_at.get(partition, 0)
        page = await self._stores.sweep.ready(
            partition=partition,
            before_ms=self._stores.clock.now_ms() - HINT_AGAIN_MS,
            skip=skip,
            count=READY_PAGE,
        )
        self._looked_at[partition] = skip + len(page) if len(page) == READY_PAGE else 0
        return page

    def _stream(self, entry: ReadyEntry) -> str:
        about = entry.attention
        return self._stores.queues.stream(lane_for_anyone(about))

    def _hint_is_gone(self, entry: ReadyEntry, oldest: Mapping[str, int]) -> bool:
        """Hints are first in, first out: one older than the oldest in its stream was read, or never made."""
        if isinstance(entry.attention, Attention) and entry.attention.holder is not None:
            return True
        oldest_ms = oldest.get(self._stream(entry))
        return oldest_ms is None or entry.hinted_ms < oldest_ms - HINT_MARGIN_MS

    async def _purge(self, partitions: list[int]) -> None:
        before_ms = self._stores.clock.now_ms() - self._retention_ms
        left: list[int] = list(partitions)
        while left:
            gone = await asyncio.gather(
                *(
                    self._stores.sweep.purge(
                        partition=partition, closed_before_ms=before_ms, count=PURGE_PAGE
                    )
                    for partition in left
                )
            )
            left = [partition for partition, count in zip(left, gone, strict=True) if count == PURGE_PAGE]


PURGE_PAGE = 20
