"""The wire on one side, values on the other.

Invariant: nothing of `aiki.v1` goes further into the package than this module and what calls the stubs.
"""

from datetime import UTC, datetime
from typing import Final

from google.protobuf import timestamp_pb2

from aiki.v1 import common_pb2, history_pb2, workflow_pb2
from aiki_client.errors import RevisionError
from aiki_client.views import RunState, RunView, TaskView
from aiki_task.failures import FailureInfo, FailureKind
from aiki_task.payloads import Payload
from aiki_workflow import events

KINDS: Final[dict[common_pb2.FailureKind.ValueType, FailureKind]] = {
    common_pb2.FAILURE_KIND_UNSPECIFIED: "error",
    common_pb2.FAILURE_KIND_ERROR: "error",
    common_pb2.FAILURE_KIND_TIMEOUT: "timeout",
    common_pb2.FAILURE_KIND_CANCELLED: "cancelled",
    common_pb2.FAILURE_KIND_PAYLOAD: "payload",
    common_pb2.FAILURE_KIND_BUG: "bug",
    common_pb2.FAILURE_KIND_DIVERGED: "diverged",
}
STATES: Final[dict[common_pb2.RunState.ValueType, RunState]] = {
    common_pb2.RUN_STATE_RUNNING: RunState.RUNNING,
    common_pb2.RUN_STATE_WAITING: RunState.WAITING,
    common_pb2.RUN_STATE_STALLED: RunState.STALLED,
    common_pb2.RUN_STATE_COMPLETED: RunState.COMPLETED,
    common_pb2.RUN_STATE_FAILED: RunState.FAILED,
}
WIRE_STATES: Final = {state: number for number, state in STATES.items()}


def payload_to_wire(payload: Payload) -> common_pb2.Payload:
    """A payload for a request."""
    return common_pb2.Payload(data=payload.data, encoding=payload.encoding)


def payload(wire: common_pb2.Payload) -> Payload:
    """A payload from an answer."""
    return Payload(wire.data, wire.encoding)


def failure(wire: common_pb2.Failure) -> FailureInfo:
    """A failure with its causes."""
    return FailureInfo(
        kind=KINDS.get(wire.kind, "error"),
        type=wire.type,
        message=wire.message,
        traceback=wire.traceback,
        details=payload(wire.details) if wire.HasField("details") else None,
        cause=failure(wire.cause) if wire.HasField("cause") else None,
        attempts=wire.attempts,
    )


def run_view(wire: workflow_pb2.Run) -> RunView:
    """A run as it stands."""
    return RunView(
        namespace=wire.namespace,
        run_id=wire.run_id,
        workflow_id=wire.workflow_id,
        workflow=wire.workflow,
        version=wire.version,
        queue=wire.queue,
        state=_state(wire.state),
        start_time=_instant(wire.start_time),
        close_time=_instant(wire.close_time) if wire.HasField("close_time") else None,
        history_length=wire.history_length,
        output=payload(wire.output) if wire.HasField("output") else None,
        failure=failure(wire.failure) if wire.HasField("failure") else None,
        worker=wire.worker,
        waiting_for=wire.waiting_for,
        tasks=tuple(task_view(task) for task in wire.tasks),
    )


def task_view(wire: workflow_pb2.TaskView) -> TaskView:
    """An open task of a run."""
    return TaskView(
        address=wire.address,
        task=wire.task,
        state=wire.state,
        attempt=wire.attempt,
        worker=wire.worker,
        since=_instant(wire.since) if wire.HasField("since") else None,
        last_failure=failure(wire.last_failure) if wire.HasField("last_failure") else None,
    )


def event(wire: history_pb2.Event) -> events.Event:
    """One entry of a history.

    Raises:
        RevisionError: it is of a kind that this client does not know.
    """
    at = wire.time_ms
    match wire.WhichOneof("kind"):
        case "run_started":
            started = wire.run_started
            return events.RunStarted(
                at,
                started.workflow,
                started.version,
                payload(started.input),
                started.workflow_id,
                started.queue,
            )
        case "task_completed":
            completed = wire.task_completed
            return events.TaskCompleted(
                at,
                completed.address,
                payload(completed.output),
                completed.attempt,
                completed.duration_ms,
                completed.worker,
            )
        case "task_failed":
            failed = wire.task_failed
            return events.TaskFailed(at, failed.address, failure(failed.failure), failed.worker)
        case "timer_fired":
            return events.TimerFired(at, wire.timer_fired.address)
        case "signal_received":
            return events.SignalReceived(at, wire.signal_received.name, payload(wire.signal_received.value))
        case _:
            return _command(wire)


def _command(wire: history_pb2.Event) -> events.Event:
    at = wire.time_ms
    match wire.WhichOneof("kind"):
        case "task_scheduled":
            scheduled = wire.task_scheduled
            return events.TaskScheduled(at, scheduled.address, scheduled.task, payload(scheduled.input))
        case "task_cancelled":
            return events.TaskCancelled(at, wire.task_cancelled.address)
        case "timer_started":
            return events.TimerStarted(at, wire.timer_started.address, wire.timer_started.due_ms)
        case "timer_cancelled":
            return events.TimerCancelled(at, wire.timer_cancelled.address)
        case "run_completed":
            return events.RunCompleted(at, payload(wire.run_completed.output))
        case "run_failed":
            return events.RunFailed(at, failure(wire.run_failed.failure))
        case _:
            return _note(wire)


def _note(wire: history_pb2.Event) -> events.Event:
    at = wire.time_ms
    match wire.WhichOneof("kind"):
        case "task_started":
            started = wire.task_started
            return events.TaskStarted(at, started.address, started.attempt, started.worker)
        case "task_attempt_failed":
            failed = wire.task_attempt_failed
            return events.TaskAttemptFailed(
                at,
                failed.address,
                failed.attempt,
                failure(failed.failure),
                failed.retry_at_ms,
                failed.worker,
            )
        case "task_dispatched":
            return events.TaskDispatched(at, wire.task_dispatched.address, wire.task_dispatched.queue)
        case "task_retry_due":
            return events.TaskRetryDue(at, wire.task_retry_due.address)
        case _:
            raise RevisionError(
                "the history holds an event that this client does not know: upgrade aiki-client"
            )


def _state(wire: common_pb2.RunState.ValueType) -> RunState:
    if wire not in STATES:
        raise RevisionError(
            f"the run is in state {wire}, which this client does not know: upgrade aiki-client"
        )
    return STATES[wire]


def _instant(wire: timestamp_pb2.Timestamp) -> datetime:
    return wire.ToDatetime(tzinfo=UTC)
