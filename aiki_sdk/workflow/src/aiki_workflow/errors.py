"""What goes wrong when a run's code is driven.

AikiError
├── DivergedError           code and history disagree
├── WorkflowBugError        an exception that is no declared failure
├── NotDurableError         a thing that a run cannot do
├── NonDeterministicCallError  what would differ on replay
├── UpdateRejected          an update was not accepted
└── Failure
    ├── ChildFailed         a child run ended without a result
    ├── SignalFailed        a signal to another run did not arrive
    └── TaskFailed
        └── TaskCancelledError  an operator cancelled the task
"""

from __future__ import annotations

from aiki_task.errors import AikiError, Failure, TaskFailed
from aiki_task.failures import FailureInfo, FailureKind, task_failed


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


class NonDeterministicCallError(AikiError, RuntimeError):
    """Workflow code called what would differ on replay.

    Attributes:
        call: what it called.
        instead: what to use.
    """

    def __init__(self, call: str, instead: str) -> None:
        super().__init__(f"{call} differs when a run is replayed: in a workflow use {instead} instead")
        self.call = call
        self.instead = instead


class NotDurableError(AikiError, RuntimeError):
    """A run asked its loop for something that has no place in a history."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} cannot be used in workflow code, because it cannot be replayed: do it in a task"
        )


class UpdateRejected(AikiError):
    """An update was not accepted, and nothing was recorded of it. Raise it in a validator."""


class ChildFailed(Failure):
    """A child run ended without a result, or could not be started.

    Attributes:
        workflow: the child's workflow.
        workflow_id: its workflow id.
        kind: "error", "timeout", "cancelled" or "terminated".
        type_name: the name of the exception's type, where the child ran; "WorkflowIdTaken" when its id was in use.
        message: its text.
        traceback_text: its traceback, for people.
    """

    def __init__(self, workflow: str, workflow_id: str, failure: FailureInfo) -> None:
        super().__init__(f"child {workflow!r} ({workflow_id}) failed: {failure.type}: {failure.message}")
        self.workflow = workflow
        self.workflow_id = workflow_id
        self.kind: FailureKind = failure.kind
        self.type_name = failure.type
        self.message = failure.message
        self.traceback_text = failure.traceback


class SignalFailed(Failure):
    """A signal to another run did not arrive: there is no such run, or it is closed."""


class TaskCancelledError(TaskFailed):
    """An operator cancelled the task."""

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(task, "Cancelled", reason or "it was cancelled")


class ContinueAsNew(BaseException):
    """Ends the run and starts its next one. Raised by `Workflow.continue_as_new`; let it pass.

    Attributes:
        workflow: the definition that goes on.
        arguments: the next run's positional and named arguments.
    """

    def __init__(self, workflow: object, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        super().__init__("the run continues as a new one")
        self.workflow = workflow
        self.arguments = (args, kwargs)


def child_failed(failure: FailureInfo, workflow: str, workflow_id: str) -> ChildFailed:
    """The failure of a child, with the causes it had."""
    failed = ChildFailed(workflow, workflow_id, failure)
    if failure.cause is not None:
        failed.__cause__ = task_failed(failure.cause, workflow)
    return failed


def signal_failed(failure: FailureInfo) -> SignalFailed:
    """Why a signal did not arrive."""
    return SignalFailed(failure.message)
