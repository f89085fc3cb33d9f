"""Runs as the coordinator shows them.

Invariant: a view is a snapshot; nothing here asks anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload


class RunState(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    WAITING = "waiting"
    STALLED = "stalled"
    PAUSED = "paused"
    SCHEDULED = "scheduled"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    CONTINUED = "continued"

    @property
    def is_closed(self) -> bool:
        """Whether nothing more happens to it."""
        return self in _CLOSED


_CLOSED: Final = frozenset(
    {
        RunState.COMPLETED,
        RunState.FAILED,
        RunState.CANCELLED,
        RunState.TERMINATED,
        RunState.TIMED_OUT,
        RunState.CONTINUED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """One task of a run.

    Attributes:
        state: "scheduled", "queued", "running", "backoff", "deferred", "completed", "failed" or "cancelled".
        attempt: the current, next or last attempt, from 1.
        since: when this state began.
        duration: how long the last attempt took, when it is over.
    """

    address: str
    task: str
    state: str
    attempt: int
    worker: str
    since: datetime | None
    last_failure: FailureInfo | None
    duration: timedelta | None = None

    @property
    def is_open(self) -> bool:
        """Whether its outcome is still to come."""
        return self.state not in {"completed", "failed", "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerView:
    """One timer of a run that has not fired."""

    address: str
    since: datetime
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildView:
    """One child of a run; its `state` is "open", "cancelling", "completed" or "failed"."""

    address: str
    workflow: str
    workflow_id: str
    state: str
    since: datetime
    failure: FailureInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalView:
    """One signal that a run has received."""

    name: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """What code has logged in a run.

    Attributes:
        address: the task whose attempt said it; empty for the workflow's code.
        attempt: which attempt, from 1; 0 for the workflow's code.
    """

    time: datetime
    level: str
    logger: str
    message: str
    address: str
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run. In listings all from `output` to `waiting_for`, `tasks` and what follows are left out.

    Attributes:
        waiting_for: why nothing happens, for people.
        published: what the code has published, by key.
        since: when it reached its state.
        mail: messages that it has not read.
        continued_as: the run that goes on with its work, "" if none.
        runtime: what ran its code last, such as "python 3.11"; "" if nothing did.
    """

    namespace: str
    run_id: str
    workflow_id: str
    workflow: str
    version: str
    queue: str
    state: RunState
    start_time: datetime
    close_time: datetime | None
    history_length: int
    output: Payload | None
    failure: FailureInfo | None
    worker: str
    waiting_for: str
    tasks: tuple[TaskView, ...]
    timers: tuple[TimerView, ...] = ()
    children: tuple[ChildView, ...] = ()
    signals: tuple[SignalView, ...] = ()
    published: Mapping[str, Payload] = field(default_factory=dict[str, Payload])
    since: datetime | None = None
    mail: int = 0
    continued_from: str = ""
    continued_as: str = ""
    parent_run_id: str = ""
    runtime: str = ""
