"""What goes wrong when a run's code is driven.

AikiError
├── DivergedError       code and history disagree
├── WorkflowBugError    an exception that is no declared failure
└── NotDurableError     a thing that a run cannot do
"""

from __future__ import annotations

from aiki_task.errors import AikiError
from aiki_task.failures import FailureInfo


class DivergedError(AikiError):
    """Code and recorded history disagree; nothing new was done. The right code picks the run up.

    Attributes:
        recorded: the recorded call that the code did not make again.
        issued: the call it made instead.
        line: where, as "file:line"; empty when it ended instead.
    """

    def __init__(self, recorded: str, issued: str, line: str) -> None:
        at = f" at {line}" if line else ""
        super().__init__(
            f"the code{at} now does {issued}, but the history has {recorded} there. "
            "Run the code that recorded it, or make the change under a new version."
        )
        self.recorded = recorded
        self.issued = issued
        self.line = line


class WorkflowBugError(AikiError):
    """Workflow code raised what is no declared failure: the run is parked, not failed.

    Attributes:
        failure: the exception, with its traceback.
    """

    def __init__(self, failure: FailureInfo) -> None:
        super().__init__(f"{failure.type}: {failure.message}")
        self.failure = failure


class NotDurableError(AikiError, RuntimeError):
    """A run asked its loop for something that has no place in a history."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} cannot be used in workflow code, because it cannot be replayed: do it in a task"
        )
