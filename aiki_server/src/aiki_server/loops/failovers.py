"""After a node of the store has lost its past: sessions begin anew, and what runs asked of others is asked again.

What was acknowledged by that node may be gone, so what a worker holds and what the store says may differ: resuming
tells each of them what it has left. A child whose parent's request was done, and which is gone, is asked for again.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from aiki.v1 import history_pb2
from aiki_server.core.runs import ChildRecord, RunRecord, RunState
from aiki_server.loops.membership import Membership
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError

PAGE: Final = 100
RETRY_SECONDS: Final = 1.0
OPEN: Final = (RunState.RUNNING, RunState.WAITING, RunState.STALLED, RunState.PAUSED)
log = structlog.get_logger(__name__)


class FailoverWatch:
    """Acts on `Stores.failovers`; what fails is tried again, since each part may be repeated."""

    def __init__(self, hub: Hub, membership: Membership) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._membership = membership

    async def run(self) -> None:
        """Until cancelled."""
        changed = self._stores.failovers.changed
        while True:
            await changed.wait()
            changed.clear()
            log.warning("a node of the store was replaced or restarted: sessions begin anew")
            for session in list(self._hub.sessions.values()):
                session.end()
            try:
                await self._ask_again()
            except StoreError as error:
                log.warning("children cannot be asked for again: trying once more", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                changed.set()

    async def _ask_again(self) -> None:
        """For the open children of all open runs in this coordinator's partitions."""
        ours = set(self._membership.partitions)
        for namespace in {namespace for namespace, _, _ in await self._stores.observed.handlers()}:
            token = ""
            while True:
                records, token = await self._stores.listing.page(
                    namespace=namespace, size=PAGE, token=token, states=OPEN
                )
                mine = [record for record in records if int(record.run_id.partition("-")[0]) in ours]
                await asyncio.gather(*map(self._ask_for_children, mine))
                if not token:
                    break

    async def _ask_for_children(self, record: RunRecord) -> None:
        children = await self._stores.control.children(run_id=record.run_id, only_open=True)
        for child in children:
            there = await self._stores.runs.get(namespace=record.namespace, run_id=child.run_id)
            if there is None:
                await self._start_again(record, child)
            elif there.closing_event:
                event = child.run_id.encode()
                await self._stores.control.send_again(record, "moved", event, address=child.address)
                self._hub.outbox_changed(record.run_id)

    async def _start_again(self, record: RunRecord, child: ChildRecord) -> None:
        """Put what the parent asked for into its outbox once more; its history has it."""
        first = 0
        while events := await self._stores.runs.history(run_id=record.run_id, first=first, count=PAGE):
            first += len(events)
            for text in events:
                event = history_pb2.Event.FromString(text)
                if event.child_scheduled.address == child.address:
                    await self._stores.control.send_again(record, "command", text)
                    self._hub.outbox_changed(record.run_id)
                    return
