"""What the events of a commit mean beyond the history."""

from __future__ import annotations

from aiki.v1 import history_pb2, worker_pb2
from aiki_server.core.ids import task_handler
from aiki_server.core.runs import DispatchedTask, Effects, RunState, TimerKind


def effects_of(commit: worker_pb2.Commit) -> Effects:
    """Timers, dispatched and cancelled tasks, and how the run closes."""
    effects = Effects(dispatches=[_dispatched(spec) for spec in commit.dispatches])
    closing: RunState | None = None
    for event in commit.events:
        match event.WhichOneof("kind"):
            case "timer_started":
                timer = event.timer_started
                effects.timers.append((timer.address, timer.due_ms, TimerKind.TIMER))
            case "timer_cancelled":
                effects.cancelled_timers.append((event.timer_cancelled.address, TimerKind.TIMER))
            case "task_attempt_failed":
                failed = event.task_attempt_failed
                effects.timers.append((failed.address, failed.retry_at_ms, TimerKind.RETRY))
            case "task_cancelled":
                effects.cancelled_tasks.append(event.task_cancelled.address)
            case "run_completed":
                closing = RunState.COMPLETED
            case "run_failed":
                closing = RunState.FAILED
            case _:
                pass
    return effects if closing is None else _closing(effects, closing)


def _closing(effects: Effects, closing: RunState) -> Effects:
    return Effects(
        timers=effects.timers,
        cancelled_timers=effects.cancelled_timers,
        dispatches=effects.dispatches,
        cancelled_tasks=effects.cancelled_tasks,
        closing=closing,
    )


def _dispatched(spec: history_pb2.TaskSpec) -> DispatchedTask:
    return DispatchedTask(
        address=spec.address,
        handler=task_handler(spec.task),
        queue=spec.queue,
        spec=spec.SerializeToString(),
        attempts_made=spec.attempts_made,
        deadline_ms=spec.deadline_ms,
    )
