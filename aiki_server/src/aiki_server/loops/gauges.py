"""Keeps the gauges up to date: a scrape reads numbers that are there and never asks the store.

Each queue is told of by one coordinator, as each partition is, so that sums over coordinators are right.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import structlog

from aiki_server.loops.membership import Membership
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError
from aiki_server.telemetry import metrics
from aiki_server.telemetry.instruments import Gauge, Labels

LOOK_SECONDS: Final = 10.0
PARTITIONS_EVERY: Final = 3
"""Of looks, how many make one that asks each partition."""
TICK_SECONDS: Final = 0.25

log = structlog.get_logger(__name__)


class Gauges:
    """Looks at the store and at this coordinator every few seconds."""

    def __init__(self, hub: Hub, membership: Membership) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._membership = membership
        self._lag_s = 0.0
        self._looks = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feel_lag())
            while True:
                self._look_here()
                try:
                    await self._look_at_the_store()
                except StoreError as error:
                    log.warning("the store cannot be looked at for metrics", reason=str(error))
                await asyncio.sleep(LOOK_SECONDS)

    async def _feel_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._lag_s = max(self._lag_s, loop.time() - due)

    def _look_here(self) -> None:
        hub, health = self._hub, self._stores.health
        sessions = list(hub.sessions.values())
        _sum_up(metrics.SESSIONS, (((session.namespace,), 1) for session in sessions))
        _sum_up(metrics.SLOTS, (((session.namespace,), session.hello.slots) for session in sessions))
        _sum_up(
            metrics.QUEUE_POLLERS,
            (((session.namespace, queue), 1) for session in sessions for queue in session.queues),
        )
        metrics.CREDIT.set(sum(session.free_runs for session in sessions), ("run",))
        metrics.CREDIT.set(sum(session.free_tasks for session in sessions), ("task",))
        metrics.SESSION_OUTBOX.set(sum(session.waiting for session in sessions))
        metrics.STORE_PROBLEMS.set(len(health.problems))
        metrics.PARTITIONS.set(len(self._membership.partitions))
        metrics.DRAINING.set(int(hub.draining.is_set()))
        metrics.LOOP_LAG.set(self._lag_s)
        self._lag_s = 0.0

    async def _look_at_the_store(self) -> None:
        seen, partitions = self._stores.observed, self._membership.partitions
        memory = await seen.memory()
        metrics.STORE_MEMORY.set(memory.used)
        metrics.STORE_MEMORY_RATIO.set(memory.used / memory.limit if memory.limit else 0.0)
        asks_partitions = self._looks % PARTITIONS_EVERY == 0
        self._looks += 1
        if asks_partitions:
            waiting = await seen.outbox(partitions)
            metrics.OUTBOX_DEPTH.set(waiting.entries)
            metrics.OUTBOX_AGE.set(self._age_s(waiting.oldest_ms))
        await self._look_at_queues()
        if asks_partitions:
            await self._look_at_runs({namespace for namespace, _, _ in await seen.handlers()})

    async def _look_at_queues(self) -> None:
        states = {(state.namespace, state.queue): state for state in await self._hub.queues.states()}
        ours = {labels: state for labels, state in states.items() if self._is_ours(labels)}
        metrics.QUEUE_BACKLOG.set_all({labels: state.backlog for labels, state in ours.items()})
        metrics.QUEUE_OLDEST.set_all({labels: self._age_s(state.oldest_ms) for labels, state in ours.items()})

    async def _look_at_runs(self, namespaces: Iterable[str]) -> None:
        counts = {
            (namespace,): await self._stores.observed.runs(namespace, self._membership.partitions)
            for namespace in namespaces
        }
        metrics.RUNS_OPEN.set_all({labels: count["open"] for labels, count in counts.items()})
        metrics.RUNS_STALLED.set_all({labels: count["stalled"] for labels, count in counts.items()})

    def _is_ours(self, labels: tuple[str, str]) -> bool:
        partition = zlib.crc32("/".join(labels).encode()) % self._stores.partitions
        return partition in self._membership.partitions

    def _age_s(self, since_ms: int) -> float:
        return max(self._stores.clock.now_ms() - since_ms, 0) / 1000 if since_ms else 0.0


def _sum_up(gauge: Gauge, parts: Iterable[tuple[Labels, float]]) -> None:
    sums: dict[Labels, float] = defaultdict(float)
    for labels, value in parts:
        sums[labels] += value
    gauge.set_all(sums)
