"""The slots of a worker: how many there are, of single queues too, and what takes them. Plain counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from aiki_task.records import record


@record
class Need:
    """What an attempt takes: slots, of a queue."""

    queue: str = ""
    slots: int = 1


ONE = Need()


class Slots:
    """`limits` are the most slots that attempts of single queues may take together."""

    def __init__(self, total: int, limits: Mapping[str, int] | None = None) -> None:
        self.total = total
        self.limits = dict(limits or {})
        self._taken = 0
        self._taken_of: Counter[str] = Counter()

    @property
    def free(self) -> int:
        """Slots that nothing runs in."""
        return self.total - self._taken

    def free_of(self, queue: str) -> int:
        """Slots that an attempt of this queue could take."""
        limit = self.limits.get(queue)
        return self.free if limit is None else min(self.free, limit - self._taken_of[queue])

    def fits(self, need: Need, reserved: int = 0) -> bool:
        """Whether it could begin now, beside *reserved* slots; what is too large for the worker begins alone."""
        return self.free_of(need.queue) - reserved >= self._size(need)

    def take(self, need: Need) -> None:
        """It begins."""
        self._taken += self._size(need)
        self._taken_of[need.queue] += self._size(need)

    def give(self, need: Need) -> None:
        """It is over."""
        self._taken -= self._size(need)
        self._taken_of[need.queue] -= self._size(need)

    def _size(self, need: Need) -> int:
        return min(need.slots, self.total, self.limits.get(need.queue, self.total))
