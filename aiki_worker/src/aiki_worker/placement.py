"""Whether a task runs here, and when it is tried again: pure decisions about local tasks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from aiki_task.errors import RetryAfter
from aiki_task.task import TaskOptions


@dataclass(frozen=True, slots=True)
class Served:
    """The tasks and queues a worker serves."""

    tasks: Collection[str]
    queues: Collection[str]

    def runs_here(self, task: str, options: TaskOptions) -> bool:
        """Whether a worker that holds the run may run *task* itself, given a free slot."""
        return (
            not options.remote
            and not options.deferred
            and not options.at_most_once
            and task in self.tasks
            and (options.queue is None or options.queue in self.queues)
        )


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
