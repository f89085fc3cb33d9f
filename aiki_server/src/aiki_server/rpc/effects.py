"""What the events of a commit mean beyond the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiki.v1 import history_pb2
from aiki_server.core.ids import task_handler
from aiki_server.core.runs import DispatchedTask, Effects, RunState, TimerKind


def effects_of(
    events: Iterable[history_pb2.Event], dispatches: Iterable[history_pb2.TaskSpec] = ()
) -> Effects:
    """Timers, dispatched and cancelled tasks, and how the run closes."""
    effects = Effects(dispatches=[_dispatched(spec) for spec in dispatches])
    for event in events:
        apply = _APPLY.get(event.WhichOneof("kind") or "")
        if apply is not None:
            apply(effects, event)
    return effects


def _timer_started(effects: Effects, event: history_pb2.Event) -> None:
    timer = event.timer_started
    effects.timers.append((timer.address, timer.due_ms, TimerKind.TIMER))


def _timer_cancelled(effects: Effects, event: history_pb2.Event) -> None:
    effects.cancelled_timers.append((event.timer_cancelled.address, TimerKind.TIMER))


def _attempt_failed(effects: Effects, event: history_pb2.Event) -> None:
    failed = event.task_attempt_failed
    effects.timers.append((failed.address, failed.retry_at_ms, TimerKind.RETRY))


def _task_cancelled(effects: Effects, event: history_pb2.Event) -> None:
    effects.cancelled_tasks.append(event.task_cancelled.address)


def _run_completed(effects: Effects, _: history_pb2.Event) -> None:
    effects.closing = RunState.COMPLETED


def _run_failed(effects: Effects, _: history_pb2.Event) -> None:
    effects.closing = RunState.FAILED


_APPLY: Final[dict[str, Callable[[Effects, history_pb2.Event], None]]] = {
    "timer_started": _timer_started,
    "timer_cancelled": _timer_cancelled,
    "task_attempt_failed": _attempt_failed,
    "task_cancelled": _task_cancelled,
    "run_completed": _run_completed,
    "run_failed": _run_failed,
}
"""What each kind of event does; the others are history only, and most of a commit is."""


def _dispatched(spec: history_pb2.TaskSpec) -> DispatchedTask:
    return DispatchedTask(
        address=spec.address,
        handler=task_handler(spec.task),
        queue=spec.queue,
        spec=spec.SerializeToString(),
        attempts_made=spec.attempts_made,
        deadline_ms=spec.deadline_ms,
    )
