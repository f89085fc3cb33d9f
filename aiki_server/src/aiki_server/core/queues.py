"""What is known of queues: what waits, what is in flight, who takes from them.

Plain values. Each coordinator reports its sessions as a few pools; what waits is in the streams of lanes. In flight
is what was taken from a queue and is leased: runs that a worker holds, and remote tasks. What the holder of a run
executes beside it is part of the run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiki_server.core.matching import Lane, Profile


@dataclass(frozen=True, kw_only=True)
class PoolReport:
    """Sessions with one profile at one coordinator.

    Attributes:
        sessions: how many there are.
        free_runs: runs they would take now, in all.
        free_tasks: slots for tasks they have free, in all.
        runs: runs they hold, by queue.
        tasks: remote tasks they hold, by queue.
        slots: slots that those take, by queue.
    """

    profile: Profile
    sessions: int
    free_runs: int = 0
    free_tasks: int = 0
    runs: Mapping[str, int] = field(default_factory=dict[str, int])
    tasks: Mapping[str, int] = field(default_factory=dict[str, int])
    slots: Mapping[str, int] = field(default_factory=dict[str, int])

    def free(self, lane: Lane) -> int:
        """Credit for work like that of a lane."""
        return self.free_tasks if lane.is_of_tasks else self.free_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue of one namespace.

    Attributes:
        backlog: runs and tasks that wait, at all priorities.
        oldest_ms: when the oldest of them began to wait, ms since the Unix epoch; 0 when nothing waits.
        runs: runs in flight.
        tasks: remote tasks in flight.
        slots: slots that these tasks take.
        sessions: workers that serve the queue.
        free_slots: slots of those for tasks that are free.
    """

    namespace: str
    queue: str
    backlog: int = 0
    oldest_ms: int = 0
    runs: int = 0
    tasks: int = 0
    slots: int = 0
    sessions: int = 0
    free_slots: int = 0

    @property
    def in_flight(self) -> int:
        """Runs and tasks."""
        return self.runs + self.tasks


def encode(pools: Iterable[PoolReport]) -> str:
    """A coordinator's report, for the others."""
    return json.dumps(
        [
            {
                "namespace": pool.profile.namespace,
                "queues": pool.profile.queues,
                "handlers": sorted(pool.profile.handlers),
                "labels": sorted(pool.profile.labels),
                "slots": pool.profile.slots,
                "limits": pool.profile.limits,
                "weights": pool.profile.weights,
                "sessions": pool.sessions,
                "free": [pool.free_runs, pool.free_tasks],
                "held": [dict(pool.runs), dict(pool.tasks), dict(pool.slots)],
            }
            for pool in pools
        ],
        separators=(",", ":"),
    )


def decode(text: str) -> list[PoolReport]:
    """What `encode` made."""
    return [_pool(fields) for fields in cast("list[dict[str, Any]]", json.loads(text))]


def _pool(fields: dict[str, Any]) -> PoolReport:
    profile = Profile(
        fields["namespace"],
        tuple(fields["queues"]),
        frozenset(fields["handlers"]),
        frozenset(fields["labels"]),
        fields["slots"],
        tuple((queue, number) for queue, number in fields["limits"]),
        tuple((queue, number) for queue, number in fields["weights"]),
    )
    free_runs, free_tasks = fields["free"]
    runs, tasks, slots = fields["held"]
    return PoolReport(
        profile=profile,
        sessions=fields["sessions"],
        free_runs=free_runs,
        free_tasks=free_tasks,
        runs=runs,
        tasks=tasks,
        slots=slots,
    )


def queue_states(waiting: Mapping[Lane, tuple[int, int]], pools: Iterable[PoolReport]) -> list[QueueState]:
    """Every queue that somebody serves or in which something waits, by namespace and name.

    Args:
        waiting: by lane, how much waits and since when, in ms (0: nothing).
        pools: of all coordinators.
    """
    totals: dict[tuple[str, str], Counter[str]] = {}
    oldest: dict[tuple[str, str], int] = {}
    for lane, (length, since_ms) in waiting.items():
        key = lane.namespace, lane.queue
        totals.setdefault(key, Counter())["backlog"] += length
        if length and since_ms:
            oldest[key] = min(oldest.get(key, since_ms), since_ms)
    for pool in pools:
        for queue in {*pool.profile.queues, *pool.runs, *pool.tasks}:
            total = totals.setdefault((pool.profile.namespace, queue), Counter())
            total["runs"] += pool.runs.get(queue, 0)
            total["tasks"] += pool.tasks.get(queue, 0)
            total["slots"] += pool.slots.get(queue, 0)
            if queue in pool.profile.queues:
                total["sessions"] += pool.sessions
                total["free_slots"] += pool.free_tasks
    return [
        QueueState(namespace=namespace, queue=queue, oldest_ms=oldest.get((namespace, queue), 0), **total)
        for (namespace, queue), total in sorted(totals.items())
    ]
