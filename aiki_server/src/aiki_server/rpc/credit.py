"""How much a worker still takes. Totals only grow, so that a late or repeated credit is harmless."""

from __future__ import annotations

from aiki.v1 import worker_pb2
from aiki_server.core.matching import Lane


class Credit:
    """Spent when work is asked for on its behalf, and given back when there was none.

    A task may take the last slots and more: what it lacks is owed, and nothing is given until that is paid. So a
    task that takes many slots is not kept waiting by those that take one.
    """

    def __init__(self, hello: worker_pb2.Hello) -> None:
        self._counts_slots = hello.counts_slots
        self._runs_total = self._runs_spent = 0
        self._tasks_total = self._tasks_spent = 0
        self._queue_total = dict.fromkeys(hello.queue_slots, 0)
        self._queue_spent = dict.fromkeys(hello.queue_slots, 0)

    @property
    def runs(self) -> int:
        """Runs it still takes."""
        return self._runs_total - self._runs_spent

    @property
    def tasks(self) -> int:
        """Tasks it still takes; slots, for a worker that counts those."""
        return self._tasks_total - self._tasks_spent

    def of(self, lane: Lane) -> int:
        """What is left for work of a lane."""
        if not lane.is_of_tasks:
            return self.runs
        if lane.queue not in self._queue_total:
            return self.tasks
        return min(self.tasks, self._queue_total[lane.queue] - self._queue_spent[lane.queue])

    def set(self, credit: worker_pb2.Credit) -> None:
        """What the worker says."""
        self._runs_total = max(self._runs_total, credit.runs_total)
        self._tasks_total = max(self._tasks_total, credit.tasks_total)
        for queue, total in credit.queue_tasks_total.items():
            if queue in self._queue_total:
                self._queue_total[queue] = max(self._queue_total[queue], total)

    def cost(self, lane: Lane) -> int:
        """What one thing of a lane takes."""
        return lane.slots if self._counts_slots and lane.is_of_tasks else 1

    def spend(self, *, runs: int = 0, tasks: int = 0, queue: str = "") -> None:
        """Something is on its way; a negative number gives credit back."""
        self._runs_spent += runs
        self._tasks_spent += tasks
        if queue in self._queue_spent:
            self._queue_spent[queue] += tasks
