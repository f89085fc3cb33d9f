"""What the whole cluster's queues hold and who takes from them: for operators, metrics and scalers.

`Queues.states` costs two pipelined commands for each lane in use and one for each coordinator, and is kept for a
second, so that whoever asks often costs no more.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from aiki_server.core import queues
from aiki_server.core.matching import Lane
from aiki_server.core.queues import PoolReport, QueueState
from aiki_server.rpc.holdings import ADOPTED

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub
    from aiki_server.rpc.pools import Pool

KEPT_SECONDS: Final = 1.0


class Queues:
    """Reads what others report, and what waits."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._known: list[QueueState] = []
        self._known_at = float("-inf")

    async def states(self, namespace: str = "") -> list[QueueState]:
        """Every queue that somebody serves or in which something waits; of one namespace, if it is given.

        Raises:
            StoreError: not now.
        """
        if time.monotonic() > self._known_at + KEPT_SECONDS:
            self._known = queues.queue_states(await self.waiting(), await self.pools())
            self._known_at = time.monotonic()
        return [state for state in self._known if namespace in {"", state.namespace}]

    async def load(self, namespace: str, queue: str) -> int:
        """What waits in a queue and what is in flight: what a scaler goes by.

        Raises:
            StoreError: not now.
        """
        return sum(
            state.backlog + state.in_flight for state in await self.states(namespace) if state.queue == queue
        )

    async def waiting(self) -> dict[Lane, tuple[int, int]]:
        """By lane in use, how much waits there, and since when, in ms (0: nothing)."""
        return await self._stores.queues.lengths(await self._stores.queues.lanes())

    async def pools(self) -> list[PoolReport]:
        """The workers of the cluster: those of this coordinator as they are, the others as they were reported."""
        others = [
            name for name in await self._stores.sessions.coordinators() if name != self._hub.coordinator_id
        ]
        reports = await self._stores.queues.reports(others)
        theirs = [pool for text in reports.values() for pool in queues.decode(text)]
        return [*self.own_pools(), *theirs]

    def own_pools(self) -> list[PoolReport]:
        """The workers of this coordinator."""
        return [_report(pool) for pool in self._hub.matching.pools.values()]


def _report(pool: Pool) -> PoolReport:
    runs: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    slots: Counter[str] = Counter()
    for session in pool.sessions.values():
        for lane, count in session.holdings.by_lane().items():
            if lane.is_of_tasks:
                tasks[lane.queue] += count
                slots[lane.queue] += count * lane.slots
            elif lane != ADOPTED:
                runs[lane.queue] += count
    return PoolReport(
        profile=pool.profile,
        sessions=len(pool.sessions),
        free_runs=sum(max(session.free_runs, 0) for session in pool.sessions.values()),
        free_tasks=sum(max(session.free_tasks, 0) for session in pool.sessions.values()),
        runs=runs,
        tasks=tasks,
        slots=slots,
    )
