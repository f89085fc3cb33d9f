"""What a worker says it still takes, on one stream. Pure counting: totals since Welcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiki_worker.messages import RunGrant, TaskAssignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What could be taken now: runs, slots for tasks, and slots of the queues that have a limit of their own."""

    runs: int
    tasks: int
    queues: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A credit, as it is said: totals."""

    runs: int = 0
    tasks: int = 0
    queues: Mapping[str, int] = field(default_factory=dict[str, int])


def window(spare: int, few: int, prefetch: int) -> int:
    """Slots to take work for now: *few* at most of those that are free, and what is prefetched beyond them."""
    return min(max(spare, 0), few) + max(prefetch + min(spare, 0), 0)


class Credits:
    """What was assigned on a stream, and what was last said of more."""

    def __init__(self, stream: int = 0, *, counts_slots: bool = False) -> None:
        self.stream = stream
        self.runs_granted = 0
        self.tasks_assigned = 0
        self._counts_slots = counts_slots
        self._of_queue: Counter[str] = Counter()
        self._told = Told()

    def count(self, given: RunGrant | TaskAssignment) -> None:
        """One more has come."""
        if isinstance(given, RunGrant):
            self.runs_granted += 1
            return
        cost = given.slots if self._counts_slots else 1
        self.tasks_assigned += cost
        self._of_queue[given.queue] += cost

    def due(self, room: Room, *, saying_more: bool) -> Told | None:
        """What to say, if anything: by itself only when half of what the coordinator knows of is used up."""
        told = Told(
            runs=self.runs_granted + room.runs,
            tasks=self.tasks_assigned + room.tasks,
            queues={queue: self._of_queue[queue] + free for queue, free in room.queues.items()},
        )
        if told == self._told or not (saying_more or self._is_scarce(room)):
            return None
        self._told = told
        return told

    def _is_scarce(self, room: Room) -> bool:
        before = self._told
        return (
            2 * (before.runs - self.runs_granted) < room.runs
            or 2 * (before.tasks - self.tasks_assigned) < room.tasks
            or any(
                2 * (before.queues.get(queue, 0) - self._of_queue[queue]) < free
                for queue, free in room.queues.items()
            )
        )
