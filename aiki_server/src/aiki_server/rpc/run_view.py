"""What a history says of a run, for people: a fold over its events."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeVar

from aiki.v1 import history_pb2, workflow_pb2

SHOWN_MAX: Final = 1000
RUN_TIMER: Final = "timeout/"
"""How the address of the timer begins that ends the time of a run."""
ENDED: Final = frozenset({"completed", "failed", "cancelled"})


class RunView:
    """`take` each event in order, then `fill`."""

    def __init__(self) -> None:
        self.tasks: dict[str, workflow_pb2.TaskView] = {}
        self._timers: dict[str, workflow_pb2.TimerView] = {}
        self._children: dict[str, workflow_pb2.ChildView] = {}
        self._signals: deque[workflow_pb2.SignalView] = deque(maxlen=SHOWN_MAX)
        self._last_ms = 0
        self.was_told_of_its_time = False

    def take(self, event: history_pb2.Event) -> None:
        """The next event."""
        self._last_ms = max(self._last_ms, event.time_ms)
        kind = event.WhichOneof("kind") or ""
        if kind.startswith("task_"):
            self._task(kind, event)
        elif kind.startswith("timer_"):
            self._timer(kind, event)
        elif kind == "run_resumed":
            for timer in self._timers.values():
                timer.due.FromMilliseconds(timer.due.ToMilliseconds() + event.run_resumed.frozen_ms)
        elif kind.startswith("child_"):
            self._child(kind, event)
        elif kind == "signal_received":
            view = workflow_pb2.SignalView(name=event.signal_received.name)
            view.time.FromMilliseconds(event.time_ms)
            self._signals.append(view)

    def fill(self, run: workflow_pb2.Run) -> None:
        """Write it all into *run*, open things first when there are too many."""
        run.tasks.extend(_shown(self.tasks))
        run.timers.extend(list(self._timers.values())[-SHOWN_MAX:])
        run.children.extend(_shown(self._children))
        run.signals.extend(self._signals)
        if self._last_ms:
            run.since.FromMilliseconds(self._last_ms)

    @property
    def timers(self) -> list[workflow_pb2.TimerView]:
        """Those that have not fired."""
        return list(self._timers.values())

    def open_tasks(self) -> list[workflow_pb2.TaskView]:
        """Those whose outcome is not there."""
        return [task for task in self.tasks.values() if task.state not in ENDED]

    def open_children(self) -> list[workflow_pb2.ChildView]:
        """Those that have not ended."""
        return [child for child in self._children.values() if child.state not in ENDED]

    def waiting_for(self) -> str:
        """What the run waits for, in one line."""
        tasks = self.open_tasks()
        children = [child for child in self._children.values() if child.state not in ENDED]
        parts = [
            *_some("task", [f"{task.task} ({task.state})" for task in tasks]),
            *_some("child", [child.workflow_id for child in children]),
            *_some("timer due", [timer.due.ToJsonString() for timer in self._timers.values()]),
        ]
        return ", ".join(parts) or "a signal or an update"

    def _task(self, kind: str, event: history_pb2.Event) -> None:
        about = getattr(event, kind)
        if kind == "task_scheduled":
            self.tasks[about.address] = workflow_pb2.TaskView(
                address=about.address, task=about.task, attempt=1
            )
        task = self.tasks.get(about.address)
        if task is None or kind == "task_cancel_requested":
            return
        match kind:
            case "task_started":
                task.attempt, task.worker = about.attempt, about.worker
            case "task_attempt_failed":
                task.attempt, task.worker = about.attempt + 1, ""
                task.last_failure.CopyFrom(about.failure)
            case "task_completed":
                task.attempt, task.worker = about.attempt, about.worker
                task.duration_ms = about.duration_ms
            case "task_failed":
                task.worker = about.worker
                task.attempt = max(about.failure.attempts, 1)
                task.last_failure.CopyFrom(about.failure)
            case _:
                pass
        if kind in TASK_STATES:
            task.state = TASK_STATES[kind]
            task.since.FromMilliseconds(event.time_ms)

    def _timer(self, kind: str, event: history_pb2.Event) -> None:
        about = getattr(event, kind)
        if kind == "timer_started":
            view = self._timers[about.address] = workflow_pb2.TimerView(address=about.address)
            view.since.FromMilliseconds(event.time_ms)
        elif kind in {"timer_fired", "timer_cancelled"}:
            self._timers.pop(about.address, None)
            # Fired: its code was told. Cancelled: its code is done, and its hooks run.
            self.was_told_of_its_time = self.was_told_of_its_time or about.address.startswith(RUN_TIMER)
            return
        timer = self._timers.get(about.address)
        if timer is not None:
            timer.due.FromMilliseconds(about.due_ms)

    def _child(self, kind: str, event: history_pb2.Event) -> None:
        about = getattr(event, kind)
        if kind == "child_scheduled":
            self._children[about.address] = workflow_pb2.ChildView(
                address=about.address, workflow=about.workflow, workflow_id=about.workflow_id
            )
        child = self._children.get(about.address)
        if child is None:
            return
        if kind == "child_failed":
            child.failure.CopyFrom(about.failure)
        if kind in CHILD_STATES:
            child.state = CHILD_STATES[kind]
            child.since.FromMilliseconds(event.time_ms)


TASK_STATES: Final = {
    "task_scheduled": "scheduled",
    "task_started": "running",
    "task_attempt_failed": "backoff",
    "task_dispatched": "queued",
    "task_retry_due": "scheduled",
    "task_completed": "completed",
    "task_failed": "failed",
    "task_cancelled": "cancelled",
}
CHILD_STATES: Final = {
    "child_scheduled": "open",
    "child_cancelled": "cancelling",
    "child_completed": "completed",
    "child_failed": "failed",
}

V = TypeVar("V", workflow_pb2.TaskView, workflow_pb2.ChildView)
SOME: Final = 3


def _shown(views: dict[str, V]) -> list[V]:
    """The newest, and of those that are too many the open ones rather than the ended."""
    if len(views) <= SHOWN_MAX:
        return list(views.values())
    is_open = [view for view in views.values() if view.state not in ENDED][-SHOWN_MAX:]
    room = SHOWN_MAX - len(is_open)
    ended = [view for view in views.values() if view.state in ENDED][-room:] if room else []
    return ended + is_open


def _some(what: str, names: list[str]) -> list[str]:
    """A few by name, the others by number."""
    rest = [f"{len(names) - SOME} more"] if len(names) > SOME else []
    return [f"{what} {', '.join(names[:SOME] + rest)}"] if names else []
