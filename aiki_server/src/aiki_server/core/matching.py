"""Which work a worker's credit goes to: fits, shares, turns.

Pure decisions. The policy, from the outside in:

1. *Fit.* A worker gets work of its namespace and its queues for which it has the handler, every required label
   and, for a task, enough slots in all.
2. *Queues* that have work share a worker's credit by the weights it gives them (1 each by default).
3. *Priorities* within a queue share what the queue gets 16 : 8 : 4 : 2 : 1, first to last. So the last is slow
   while there is other work, and never starves: it gets at least 1/31.
4. *Handlers* within a priority take turns.

Shares are kept by stride scheduling (Waldspurger and Weihl, "Stride Scheduling", MIT, 1995): each lane has a pass
that moves on by cost/share when it is served, and the lowest pass is next. A lane that was empty begins where the
others are, so that it saves nothing up.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from aiki_server.core.placement import ANYWHERE, PRIORITY_DEFAULT, PRIORITY_LAST, Placement

PRIORITY_WEIGHTS: Final = {
    priority: 2 ** (PRIORITY_LAST - priority) for priority in range(1, PRIORITY_LAST + 1)
}


@dataclass(frozen=True, slots=True)
class Lane:
    """Work that is alike for matching, and waits in one stream: first in, first out."""

    namespace: str
    queue: str
    handler: str
    priority: int = PRIORITY_DEFAULT
    labels: tuple[str, ...] = ()
    slots: int = 1

    @property
    def is_of_tasks(self) -> bool:
        return self.handler.startswith("t:")


def lane_of(
    namespace: str, queue: str, handler: str, placement: Placement = ANYWHERE, *, prefer: bool = False
) -> Lane:
    """The lane of work; with *prefer*, what it prefers is required too."""
    if placement is ANYWHERE:
        return Lane(namespace, queue, handler)
    labels = placement.labels
    if prefer and placement.prefers:
        labels = tuple(sorted({*labels, *placement.prefers}))
    slots = placement.slots if handler.startswith("t:") else 1
    return Lane(namespace, queue, handler, placement.priority, labels, slots)


@dataclass(frozen=True)
class Profile:
    """What a worker says of itself that matters for matching; workers with equal ones are interchangeable.

    `limits` are slots of single queues, `weights` shares; both (queue, number) for those that have one.
    """

    namespace: str
    queues: tuple[str, ...]
    handlers: frozenset[str]
    labels: frozenset[str] = frozenset()
    slots: int = 0
    limits: tuple[tuple[str, int], ...] = ()
    weights: tuple[tuple[str, int], ...] = ()

    @cached_property
    def weight_of(self) -> dict[str, int]:
        """By queue; 1 for what is not in it."""
        return dict(self.weights)

    @cached_property
    def limit_of(self) -> dict[str, int]:
        """By queue."""
        return dict(self.limits)

    def capacity(self, queue: str) -> int:
        """The most slots a task of this queue can take; a worker that does not say takes any."""
        return min(self.slots or 2**31, self.limit_of.get(queue, 2**31))

    def serves(self, lane: Lane) -> bool:
        """Whether it has the namespace, queue and handler."""
        return (
            lane.handler in self.handlers and lane.queue in self.queues and lane.namespace == self.namespace
        )

    def fits(self, lane: Lane) -> bool:
        """Whether it may get work of this lane."""
        return (
            self.serves(lane)
            and (not lane.labels or self.labels.issuperset(lane.labels))
            and (lane.slots == 1 or lane.slots <= self.capacity(lane.queue))
        )

    def plain_lanes(self) -> list[Lane]:
        """The lanes that it fits and whose work asks for nothing special."""
        return [
            Lane(self.namespace, queue, handler) for queue in self.queues for handler in sorted(self.handlers)
        ]


def shares(lanes: Iterable[Lane], weight_of: Mapping[str, int]) -> dict[Lane, float]:
    """What each of these lanes, which have work, gets of a worker's credit; together 1."""
    lanes = list(lanes)
    groups = Counter((lane.queue, lane.priority) for lane in lanes)
    in_queue: Counter[str] = Counter()
    for queue, priority in groups:
        in_queue[queue] += PRIORITY_WEIGHTS[priority]
    total = sum(weight_of.get(queue, 1) for queue in in_queue)
    return {
        lane: weight_of.get(lane.queue, 1)
        / total
        * PRIORITY_WEIGHTS[lane.priority]
        / in_queue[lane.queue]
        / groups[lane.queue, lane.priority]
        for lane in lanes
    }


class Turns:
    """Whose turn it is among lanes, for one kind of worker."""

    def __init__(self) -> None:
        self._passes: dict[Lane, float] = {}
        self._now = 0.0

    def deal(self, shares: Mapping[Lane, float], take: Callable[[Lane], int]) -> None:
        """Serve lanes in turn until none can be served.

        Args:
            shares: the lanes that have work, and what each is to get.
            take: serves one item of a lane and tells what it cost; 0: nothing more of this lane now.
        """
        heap = [
            (max(self._passes.get(lane, 0.0), self._now), lane.priority, number, lane)
            for number, lane in enumerate(shares)
        ]
        heapq.heapify(heap)
        while heap:
            at, priority, number, lane = heap[0]
            cost = take(lane)
            if not cost:
                heapq.heappop(heap)
                continue
            self._now = at
            after = self._passes[lane] = at + cost / shares[lane]
            heapq.heapreplace(heap, (after, priority, number, lane))
        if len(self._passes) > 2 * len(shares) + 100:
            self._passes = {lane: at for lane, at in self._passes.items() if at > self._now}
