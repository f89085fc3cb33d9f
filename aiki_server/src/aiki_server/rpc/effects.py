"""What the events of a commit mean beyond the history."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Final

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core.ids import task_handler
from aiki_server.core.placement import ANYWHERE
from aiki_server.core.runs import DispatchedTask, Effects, RunState, TimerKind
from aiki_server.rpc.placements import placement_from_wire


def effects_of(
    events: Iterable[history_pb2.Event],
    dispatches: Iterable[history_pb2.TaskSpec] = (),
    *,
    run_id_of_child: Callable[[history_pb2.ChildScheduled], str],
) -> Effects:
    """Timers, tasks, children, answers, what goes to other runs, and how the run closes."""
    effects = Effects(dispatches=[_dispatched(spec) for spec in dispatches])
    for event in events:
        kind = event.WhichOneof("kind") or ""
        apply = _APPLY.get(kind)
        if apply is not None:
            apply(effects, event)
        elif kind == "child_scheduled":
            _child_scheduled(effects, event, run_id_of_child(event.child_scheduled))
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


def _timer_moved(effects: Effects, event: history_pb2.Event) -> None:
    timer = event.timer_moved
    effects.timers.append((timer.address, timer.due_ms, TimerKind.TIMER))


def _child_scheduled(effects: Effects, event: history_pb2.Event, run_id: str) -> None:
    child = event.child_scheduled
    record = {
        "state": "open",
        "run": run_id,
        "workflow_id": child.workflow_id,
        "policy": CLOSE_POLICIES.get(child.close_policy, "cancel"),
    }
    effects.children.append((child.address, json.dumps(record)))
    effects.outbox.append(event.SerializeToString())


def _for_another(effects: Effects, event: history_pb2.Event) -> None:
    effects.outbox.append(event.SerializeToString())


def _state_published(effects: Effects, event: history_pb2.Event) -> None:
    published = event.state_published
    effects.fields.append((f"s:{published.key}", published.value.SerializeToString()))


def _update_completed(effects: Effects, event: history_pb2.Event) -> None:
    done = event.update_completed
    effects.fields.append((f"u:{done.update_id}", done.SerializeToString()))


def _closing(state: RunState) -> Callable[[Effects, history_pb2.Event], None]:
    def close(effects: Effects, _: history_pb2.Event) -> None:
        effects.closing = state

    return close


CLOSE_POLICIES: Final = {
    common_pb2.PARENT_CLOSE_POLICY_CANCEL: "cancel",
    common_pb2.PARENT_CLOSE_POLICY_LEAVE: "leave",
    common_pb2.PARENT_CLOSE_POLICY_TERMINATE: "terminate",
}

CLOSING: Final = {
    "run_completed": RunState.COMPLETED,
    "run_failed": RunState.FAILED,
    "run_cancelled": RunState.CANCELLED,
    "run_timed_out": RunState.TIMED_OUT,
    "run_continued": RunState.CONTINUED,
    "run_terminated": RunState.TERMINATED,
}
"""The last event of a run, and the state it leaves."""

_APPLY: Final[dict[str, Callable[[Effects, history_pb2.Event], None]]] = {
    "timer_started": _timer_started,
    "timer_cancelled": _timer_cancelled,
    "task_attempt_failed": _attempt_failed,
    "task_cancelled": _task_cancelled,
    "timer_moved": _timer_moved,
    "child_cancelled": _for_another,
    "signal_sent": _for_another,
    "state_published": _state_published,
    "update_completed": _update_completed,
    **{kind: _closing(state) for kind, state in CLOSING.items()},
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
        queue_ms=spec.queue_timeout.ToMilliseconds(),
        placement=placement_from_wire(spec.placement) if spec.HasField("placement") else ANYWHERE,
    )
