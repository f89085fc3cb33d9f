"""Brings what runs ask of other runs to them: children, signals, how children ended.

Entries of a partition are acted on in order for each run they are about, by whichever coordinators see them,
at least once; each effect is idempotent, and an entry goes only when its effect and the answer to its source
are in the store.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import structlog

from aiki_server.core.runs import OutboxEntry
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.relay import Relay
from aiki_server.store.errors import StoreError

PAGE = 100
log = structlog.get_logger(__name__)


class OutboxPump:
    """Acts at once on what came through here, and on what the survey found that another left."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._relay = Relay(hub)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._hub.outbox_moved.wait()
            moved, self._hub.outboxes_moved = self._hub.outboxes_moved, set()
            self._hub.outbox_moved.clear()
            await self._pump_all(moved)

    async def _pump_all(self, partitions: Iterable[int]) -> None:
        done = await asyncio.gather(*map(self._pump, partitions), return_exceptions=True)
        for error in done:
            if isinstance(error, StoreError):
                log.warning("an outbox cannot be emptied: trying again", reason=str(error))
            elif error is not None:
                raise error

    async def _pump(self, partition: int) -> None:
        while True:
            entries = await self._stores.control.outbox(partition=partition, count=PAGE)
            if not entries:
                return
            by_target: dict[str, list[OutboxEntry]] = defaultdict(list)
            for entry in entries:
                by_target[self._relay.target_of(entry)].append(entry)
            done = await asyncio.gather(*map(self._in_order, by_target.values()))
            gone = [entry_id for entry_ids in done for entry_id in entry_ids]
            if gone:
                await self._stores.control.outbox_done(partition=partition, entry_ids=gone)
            # What is left could not be done now: the next survey tries again.
            if len(gone) < len(entries) or len(entries) < PAGE:
                return

    async def _in_order(self, entries: list[OutboxEntry]) -> list[str]:
        done: list[str] = []
        for entry in entries:
            try:
                await self._relay.act(entry)
            except StoreError as error:
                log.warning("an effect on another run waits", run_id=entry.source, reason=str(error))
                break
            done.append(entry.entry_id)
        return done
