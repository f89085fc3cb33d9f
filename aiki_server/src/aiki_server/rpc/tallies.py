"""What is counted of commits and starts."""

from __future__ import annotations

from aiki_server.core.runs import Committed, Effects, Fenced, Gap, StartRun, TimerKind
from aiki_server.telemetry.metrics import (
    COMMIT_EVENTS,
    COMMITS,
    DUPLICATES,
    FENCED,
    RUNS_CLOSED,
    RUNS_STALLS,
    RUNS_STARTED,
    TASKS_DISPATCHED,
    TASKS_RETRIED,
)


def tally_commit(
    namespace: str, effects: Effects, events: int, answer: Committed | Fenced | Gap, *, stalls: bool
) -> None:
    """The store has answered a commit."""
    if not isinstance(answer, Committed):
        FENCED.add(("commit",))
        return
    COMMITS.add()
    COMMIT_EVENTS.record(events)
    for task in effects.dispatches:
        TASKS_DISPATCHED.add((task.queue,))
    if effects.timers:
        TASKS_RETRIED.add((), sum(kind is TimerKind.RETRY for _, _, kind in effects.timers))
    if stalls:
        RUNS_STALLS.add((namespace,))
    elif effects.closing is not None:
        RUNS_CLOSED.add((namespace, effects.closing.value))


def tally_start(start: StartRun, *, repeat: bool) -> None:
    """The store has answered a start."""
    if repeat:
        DUPLICATES.add(("start",))
    else:
        RUNS_STARTED.add((start.namespace, start.workflow))
