"""What code logs in runs: taken along with what workers say, read by clients."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncIterator, Iterable
from typing import Final

from aiki.v1 import common_pb2, workflow_pb2
from aiki_server.core.runs import LeaseToken, NotFound
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import Context, find, set_within
from aiki_server.rpc.status import refuse_store
from aiki_server.store import Stores
from aiki_server.store.errors import StoreError
from aiki_server.telemetry.metrics import LOG_LINES

PAGE: Final = 500
LOOK_AGAIN_SECONDS: Final = 0.5
LINE_BYTES_MAX: Final = 16 * 1024


def keep_logs(stores: Stores, token: LeaseToken, lines: Iterable[common_pb2.LogLine]) -> None:
    """Keep *lines*, if the store can: what cannot be kept is not worth a word, since the words would be as many."""
    kept = [(line.time_us, line.SerializeToString()) for line in lines if line.ByteSize() <= LINE_BYTES_MAX]
    if kept:
        LOG_LINES.add((), len(kept))
        stores.logs.append(token, kept).add_done_callback(_forget)


def _forget(future: Future[bool]) -> None:
    if not future.cancelled():
        future.exception()


class RunLogs:
    """Answers GetLogs."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    async def pages(
        self, request: workflow_pb2.GetLogsRequest, context: Context
    ) -> AsyncIterator[workflow_pb2.GetLogsResponse]:
        """What was logged after a time, and with `follow` what is, until the run is closed."""
        record = await find(self._stores, request.namespace, request.run, context)
        try:
            async for page in self._pages(record.run_id, request):
                yield page
        except StoreError as error:
            await refuse_store(context, error)

    async def _pages(
        self, run_id: str, request: workflow_pb2.GetLogsRequest
    ) -> AsyncIterator[workflow_pb2.GetLogsResponse]:
        after_us, logs = request.after_us, self._stores.logs
        dropped = await logs.dropped(run_id=run_id) if not after_us else 0
        with self._hub.waiters.growing(run_id) as grew:
            while True:
                grew.clear()
                # Looked at first: what is logged before the end is there when the end is.
                over = not request.follow or await self._is_over(run_id)
                lines = await logs.read(run_id=run_id, after_us=after_us, count=PAGE)
                if lines or dropped:
                    parsed = [common_pb2.LogLine.FromString(line) for line in lines]
                    yield workflow_pb2.GetLogsResponse(run_id=run_id, lines=parsed, dropped=dropped)
                    after_us, dropped = parsed[-1].time_us if parsed else after_us, 0
                if len(lines) == PAGE:
                    continue
                if over or self._hub.draining.is_set():
                    return
                await set_within(grew, LOOK_AGAIN_SECONDS)

    async def _is_over(self, run_id: str) -> bool:
        state = await self._stores.runs.watch(run_id=run_id, coordinator_id=self._hub.coordinator_id)
        return isinstance(state, NotFound) or state.is_closed
