"""What a task may know of the attempt that runs it."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime

from aiki_task.errors import NotInRunError
from aiki_task.records import keyword_record


@keyword_record
class TaskContext:
    """One attempt of one task call."""

    run_id: str
    workflow_id: str
    address: str
    attempt: int
    """From 1; an attempt lost with its worker is not counted."""
    deadline_ms: int | None
    """When the attempt is given up, in milliseconds since the Unix epoch; None means never."""

    @property
    def deadline(self) -> datetime | None:
        """When the attempt is given up; None means never."""
        return None if self.deadline_ms is None else datetime.fromtimestamp(self.deadline_ms / 1000, UTC)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call, and for no other call: give it to payment services and the like."""
        return f"{self.run_id}/{self.address}"


_current: ContextVar[TaskContext] = ContextVar("aiki_task_context")


def current_task() -> TaskContext:
    """The attempt this code is part of.

    Raises:
        NotInRunError: it is not part of one.
    """
    try:
        return _current.get()
    except LookupError:
        message = "there is no task attempt here: call current_task() inside a task that a worker runs"
        raise NotInRunError(message) from None


def enter(context: TaskContext) -> None:
    """Make *context* that of the code that runs in this contextvars context; for workers."""
    _current.set(context)
