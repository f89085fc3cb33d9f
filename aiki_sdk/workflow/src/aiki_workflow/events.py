"""The events of a history, as the engine sees them: proto/aiki/v1/history.proto says what each means.

Inputs are fed to the code, commands were issued by it, notes are for people and for placement.
`at` is when the maker made the event, milliseconds since the Unix epoch. Where in a trace a command was issued is the
worker's to say, and no part of what the code asked for.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final, Literal, get_args

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.placing import ANYWHERE, Placement
from aiki_task.records import record

ClosePolicy = Literal["cancel", "leave", "terminate"]
"""What becomes of a child when its parent closes."""


@record
class RunStarted:
    """Input: the run was started."""

    at: int
    workflow: str
    version: str
    input: Payload
    workflow_id: str
    queue: str
    seed: str = ""
    timeout_ms: int = 0
    deadline_ms: int = 0
    continued_from: str = ""
    chain_index: int = 0
    attempt: int = 1
    parent_run_id: str = ""
    parent_workflow_id: str = ""
    traceparent: str = ""
    trace_link: str = ""
    placement: Placement = ANYWHERE


@record
class TaskCompleted:
    """Input: a task returned."""

    at: int
    address: str
    output: Payload
    attempt: int
    duration_ms: int
    worker: str


@record
class TaskFailed:
    """Input: a task failed for good."""

    at: int
    address: str
    failure: FailureInfo
    worker: str


@record
class TimerFired:
    """Input: a timer's time has come."""

    at: int
    address: str


@record
class SignalReceived:
    """Input: a message for the run."""

    at: int
    name: str
    value: Payload
    traceparent: str = ""


@record
class ChildCompleted:
    """Input: a child run ended with a result."""

    at: int
    address: str
    output: Payload


@record
class ChildFailed:
    """Input: a child run ended otherwise, or could not be started."""

    at: int
    address: str
    failure: FailureInfo


@record
class ChildStarted:
    """Input: a child run is there."""

    at: int
    address: str
    run_id: str


@record
class CancelRequested:
    """Input: the run is asked to stop."""

    at: int
    reason: str


@record
class UpdateReceived:
    """Input: a request that the run is to answer."""

    at: int
    update_id: str
    name: str
    input: Payload
    traceparent: str = ""


@record
class SignalDelivered:
    """Input: what came of a signal to another run; `failure` when it did not arrive."""

    at: int
    address: str
    failure: FailureInfo | None = None


@record
class RunPaused:
    """Input: the run is held by an operator."""

    at: int
    reason: str


@record
class RunResumed:
    """Input: the run goes on; its timers stood still for `frozen_ms`, or ran on when that is 0."""

    at: int
    frozen_ms: int


@record
class TimerRescheduled:
    """Input: somebody changed when a timer fires."""

    at: int
    address: str
    due_ms: int


@record
class TaskCancelRequested:
    """Input: an operator cancelled a task."""

    at: int
    address: str
    reason: str


@record
class TaskScheduled:
    """Command: run a task."""

    at: int
    address: str
    task: str
    input: Payload


@record
class TaskCancelled:
    """Command: the outcome of a task is no longer wanted."""

    at: int
    address: str


@record
class TimerStarted:
    """Command: start a timer."""

    at: int
    address: str
    due_ms: int


@record
class TimerCancelled:
    """Command: a timer is no longer wanted."""

    at: int
    address: str


@record
class TimerMoved:
    """Command: a timer fires later, because the run was held."""

    at: int
    address: str
    due_ms: int


@record
class ChildScheduled:
    """Command: start a child run; `close_policy` says what becomes of it when this run closes."""

    at: int
    address: str
    workflow: str
    version: str
    workflow_id: str
    queue: str
    input: Payload
    close_policy: ClosePolicy
    timeout_ms: int = 0
    confirm: bool = False
    delay_ms: int = 0
    chain_timeout_ms: int = 0
    traceparent: str = field(default="", compare=False)
    trace_link: str = field(default="", compare=False)
    placement: Placement = field(default=ANYWHERE, compare=False)


@record
class ChildCancelled:
    """Command: ask a child run to stop."""

    at: int
    address: str


@record
class SignalSent:
    """Command: send a signal to the newest run of a workflow id."""

    at: int
    address: str
    workflow_id: str
    name: str
    value: Payload
    traceparent: str = field(default="", compare=False)


@record
class StatePublished:
    """Command: make a value readable without a worker."""

    at: int
    address: str
    key: str
    value: Payload


@record
class UpdateCompleted:
    """Command: the answer to an update, one of the two."""

    at: int
    update_id: str
    output: Payload | None = None
    failure: FailureInfo | None = None


@record
class PatchMarked:
    """Command: the code takes the new branch of a change."""

    at: int
    address: str


@record
class RunCompleted:
    """Command: the run ended with a result."""

    at: int
    output: Payload


@record
class RunFailed:
    """Command: the run ended with a failure."""

    at: int
    failure: FailureInfo


@record
class RunCancelled:
    """Command: the run ended because it was asked to stop."""

    at: int
    failure: FailureInfo


@record
class RunTimedOut:
    """Command: the run ended because its time was up."""

    at: int
    failure: FailureInfo


@record
class RunContinued:
    """Command: the run ended, and another goes on; with `failure` it is another attempt at the same."""

    at: int
    input: Payload
    version: str
    signals: tuple[SignalReceived, ...] = ()
    delay_ms: int = 0
    failure: FailureInfo | None = None
    attempt: int = 1
    timeout_ms: int = 0
    updates: tuple[UpdateReceived, ...] = ()


@record
class RunTerminated:
    """Not of the code: the run was ended from outside."""

    at: int
    reason: str


@record
class TaskStarted:
    """Note: a task on the run's own worker has been going on for a while."""

    at: int
    address: str
    attempt: int
    worker: str


@record
class TaskAttemptFailed:
    """Note: an attempt on the run's own worker failed, and another comes later."""

    at: int
    address: str
    attempt: int
    failure: FailureInfo
    retry_at_ms: int
    worker: str


@record
class TaskDispatched:
    """Note: a task went to a queue."""

    at: int
    address: str
    queue: str


@record
class TaskRetryDue:
    """Note: the delay after a failed attempt is over."""

    at: int
    address: str


@record
class TaskProgressed:
    """Note: an attempt on the run's own worker told how far it is."""

    at: int
    address: str
    checkpoint: Payload


@record
class RunReset:
    """Note: the history up to here is that of another run; open tasks begin anew."""

    at: int
    from_run_id: str
    length: int
    reason: str = ""


Input = (
    RunStarted
    | TaskCompleted
    | TaskFailed
    | TimerFired
    | SignalReceived
    | ChildCompleted
    | ChildFailed
    | ChildStarted
    | CancelRequested
    | UpdateReceived
    | SignalDelivered
    | RunPaused
    | RunResumed
    | TimerRescheduled
    | TaskCancelRequested
)
Ending = RunCompleted | RunFailed | RunCancelled | RunTimedOut | RunContinued
Command = (
    TaskScheduled
    | TaskCancelled
    | TimerStarted
    | TimerCancelled
    | TimerMoved
    | ChildScheduled
    | ChildCancelled
    | SignalSent
    | StatePublished
    | UpdateCompleted
    | PatchMarked
    | Ending
)
Note = (
    TaskStarted
    | TaskAttemptFailed
    | TaskDispatched
    | TaskRetryDue
    | TaskProgressed
    | RunReset
    | RunTerminated
)
Event = Input | Command | Note

INPUTS: Final[tuple[type[Input], ...]] = get_args(Input)
ENDINGS: Final[tuple[type[Ending], ...]] = get_args(Ending)
COMMANDS: Final[tuple[type[Command], ...]] = get_args(Command)
NOTES: Final[tuple[type[Note], ...]] = get_args(Note)
