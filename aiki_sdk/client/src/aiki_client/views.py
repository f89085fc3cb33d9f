"""Runs as the coordinator shows them.

Invariant: a view is a snapshot; nothing here asks anybody.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload


class RunState(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    WAITING = "waiting"
    STALLED = "stalled"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_closed(self) -> bool:
        """Whether nothing more happens to it."""
        return self in {RunState.COMPLETED, RunState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """One open task of a run that is in a queue or runs elsewhere."""

    address: str
    task: str
    # "scheduled", "queued", "running" or "backoff".
    state: str
    # The current or next attempt, from 1.
    attempt: int
    worker: str
    since: datetime | None
    last_failure: FailureInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run. In listings `output`, `failure`, `waiting_for` and `tasks` are left out."""

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
    # Why nothing happens, for people.
    waiting_for: str
    tasks: tuple[TaskView, ...]
