"""The events of a history, as the engine sees them: proto/aiki/v1/history.proto says what each means.

Inputs are fed to the code, commands were issued by it, notes are for people and for placement.
`at` is when the maker made the event, milliseconds since the Unix epoch.
"""

from __future__ import annotations

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.records import record


@record
class RunStarted:
    """Input: the run was started."""

    at: int
    workflow: str
    version: str
    input: Payload
    workflow_id: str
    queue: str


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


Input = RunStarted | TaskCompleted | TaskFailed | TimerFired | SignalReceived
Command = TaskScheduled | TaskCancelled | TimerStarted | TimerCancelled | RunCompleted | RunFailed
Note = TaskStarted | TaskAttemptFailed | TaskDispatched | TaskRetryDue
Event = Input | Command | Note

INPUTS = (RunStarted, TaskCompleted, TaskFailed, TimerFired, SignalReceived)
COMMANDS = (TaskScheduled, TaskCancelled, TimerStarted, TimerCancelled, RunCompleted, RunFailed)
NOTES = (TaskStarted, TaskAttemptFailed, TaskDispatched, TaskRetryDue)
