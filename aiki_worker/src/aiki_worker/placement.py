"""Whether a task runs here, and when it is tried again: pure decisions about local tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from aiki_task.errors import RetryAfter
from aiki_task.placing import ANYWHERE, PRIORITY_DEFAULT, Placement
from aiki_task.task import TaskOptions


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker serves, and how much of it."""

    tasks: Collection[str]
    queues: Collection[str]
    labels: Collection[str] = ()
    slots: int = 1
    limits: Mapping[str, int] = field(default_factory=dict[str, int])

    def runs_here(self, task: str, options: TaskOptions, run_queue: str = "") -> bool:
        """Whether a worker that holds the run may run *task* itself, given free slots."""
        return (
            not options.remote
            and not options.deferred
            and not options.at_most_once
            and task in self.tasks
            and (options.queue is None or options.queue in self.queues)
            and (options.placement == ANYWHERE or self._may_place(options, options.queue or run_queue))
        )

    def _may_place(self, options: TaskOptions, queue: str) -> bool:
        placement = options.placement
        return placement.slots <= min(self.slots, self.limits.get(queue, self.slots)) and all(
            label in self.labels for label in (*placement.labels, *placement.prefers)
        )


def placement_in(placement: Placement, run_priority: int) -> Placement:
    """Where a task may go that does not say its priority, in a run of *run_priority* (0: the default)."""
    if placement.priority is not None or not run_priority or run_priority == PRIORITY_DEFAULT:
        return placement
    return replace(placement, priority=run_priority)


def attempt_seconds(timeout: timedelta | None, deadline_ms: int, now_ms: int) -> float | None:
    """The longest an attempt may take that begins now; None without limit. *deadline_ms* 0: none."""
    own = None if timeout is None else timeout.total_seconds()
    if not deadline_ms:
        return own
    left = max(0.0, (deadline_ms - now_ms) / 1000)
    return left if own is None else min(own, left)


def retry_at_ms(
    options: TaskOptions,
    error: BaseException,
    *,
    final: bool,
    attempts_made: int,
    now_ms: int,
    deadline_ms: int,
    random: float,
) -> int | None:
    """When the next attempt is due; None when the task has failed for good.

    An attempt that would begin after *deadline_ms* (0: none) is not waited for.
    """
    if final or not options.retry.allows(attempts_made, error):
        return None
    delay = error.delay if isinstance(error, RetryAfter) else options.retry.delay(attempts_made, random)
    due_ms = now_ms + round(delay / timedelta(milliseconds=1))
    return None if deadline_ms and due_ms >= deadline_ms else due_ms
