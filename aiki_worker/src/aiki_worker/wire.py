"""Between protobuf and plain values: the only module that makes or reads messages' fields.

Invariant: what is written here and read back is equal, event by event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, assert_never, cast

from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]  ships them unmarked

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_task.failures import FailureInfo, FailureKind
from aiki_task.payloads import Payload
from aiki_task.retry import Retry
from aiki_worker import messages
from aiki_worker.messages import Lease, Refusal
from aiki_worker.run_ledger import Commit, Dispatch, TaskSpec
from aiki_workflow import events

_KIND_TO_WIRE: Final[dict[FailureKind, common_pb2.FailureKind.ValueType]] = {
    "error": common_pb2.FAILURE_KIND_ERROR,
    "timeout": common_pb2.FAILURE_KIND_TIMEOUT,
    "cancelled": common_pb2.FAILURE_KIND_CANCELLED,
    "payload": common_pb2.FAILURE_KIND_PAYLOAD,
    "bug": common_pb2.FAILURE_KIND_BUG,
    "diverged": common_pb2.FAILURE_KIND_DIVERGED,
}
_KIND_FROM_WIRE: Final[dict[common_pb2.FailureKind.ValueType, FailureKind]] = {
    wire: kind for kind, wire in _KIND_TO_WIRE.items()
}


def lease_to_wire(lease: Lease) -> common_pb2.Lease:
    return common_pb2.Lease(run_id=lease.run_id, address=lease.address, epoch=lease.epoch, nonce=lease.nonce)


def lease_from_wire(lease: common_pb2.Lease) -> Lease:
    return Lease(lease.run_id, lease.address, lease.epoch, lease.nonce)


def payload_to_wire(payload: Payload) -> common_pb2.Payload:
    return common_pb2.Payload(data=payload.data, encoding=payload.encoding)


def payload_from_wire(payload: common_pb2.Payload) -> Payload:
    return Payload(payload.data, payload.encoding)


def failure_to_wire(failure: FailureInfo) -> common_pb2.Failure:
    wire = common_pb2.Failure()
    _write_failure(wire, failure)
    return wire


def failure_from_wire(failure: common_pb2.Failure) -> FailureInfo:
    return FailureInfo(
        kind=_KIND_FROM_WIRE.get(failure.kind, "error"),
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        details=payload_from_wire(failure.details) if failure.HasField("details") else None,
        cause=failure_from_wire(failure.cause) if failure.HasField("cause") else None,
        attempts=failure.attempts,
    )


def refusal_from_wire(message: Any) -> Refusal | None:
    """The `error` of an answer: its ErrorInfo's reason, empty when it has none."""
    if not message.HasField("error"):
        return None
    status = cast("status_pb2.Status", message.error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return Refusal(info.reason, status.message)
    return Refusal("", status.message)


def event_to_wire(event: events.Event) -> history_pb2.Event:
    """One event, on its own."""
    wire = history_pb2.Event()
    _write_event(wire, event)
    return wire


def _write_event(wire: history_pb2.Event, event: events.Event) -> None:
    """Fill *wire* in place: a message given to another is copied whole."""
    wire.time_ms = event.at
    match event:
        case events.TaskScheduled():
            scheduled = wire.task_scheduled
            scheduled.address, scheduled.task = event.address, event.task
            _write_payload(scheduled.input, event.input)
        case events.TaskCompleted():
            completed = wire.task_completed
            completed.address, completed.worker = event.address, event.worker
            completed.attempt, completed.duration_ms = event.attempt, event.duration_ms
            _write_payload(completed.output, event.output)
        case events.TaskFailed():
            wire.task_failed.address, wire.task_failed.worker = event.address, event.worker
            _write_failure(wire.task_failed.failure, event.failure)
        case events.TimerStarted():
            wire.timer_started.address, wire.timer_started.due_ms = event.address, event.due_ms
        case events.TimerFired():
            wire.timer_fired.address = event.address
        case events.TimerCancelled():
            wire.timer_cancelled.address = event.address
        case events.TaskCancelled():
            wire.task_cancelled.address = event.address
        case events.RunCompleted():
            _write_payload(wire.run_completed.output, event.output)
        case events.RunFailed():
            _write_failure(wire.run_failed.failure, event.failure)
        case events.SignalReceived():
            wire.signal_received.name = event.name
            _write_payload(wire.signal_received.value, event.value)
        case events.RunStarted():
            started = wire.run_started
            started.workflow, started.version = event.workflow, event.version
            started.workflow_id, started.queue = event.workflow_id, event.queue
            _write_payload(started.input, event.input)
        case events.TaskStarted():
            begun = wire.task_started
            begun.address, begun.attempt, begun.worker = event.address, event.attempt, event.worker
        case events.TaskAttemptFailed():
            failed = wire.task_attempt_failed
            failed.address, failed.attempt, failed.worker = event.address, event.attempt, event.worker
            failed.retry_at_ms = event.retry_at_ms
            _write_failure(failed.failure, event.failure)
        case events.TaskDispatched():
            wire.task_dispatched.address, wire.task_dispatched.queue = event.address, event.queue
        case events.TaskRetryDue():
            wire.task_retry_due.address = event.address
        case _:
            assert_never(event)


def _write_payload(wire: common_pb2.Payload, payload: Payload) -> None:
    wire.data, wire.encoding = payload.data, payload.encoding


def _write_failure(wire: common_pb2.Failure, failure: FailureInfo) -> None:
    wire.kind = _KIND_TO_WIRE[failure.kind]
    wire.type, wire.message, wire.traceback = failure.type, failure.message, failure.traceback
    wire.attempts = failure.attempts
    if failure.details is not None:
        _write_payload(wire.details, failure.details)
    if failure.cause is not None:
        _write_failure(wire.cause, failure.cause)


def event_from_wire(wire: history_pb2.Event) -> events.Event:
    """One entry of a history.

    Raises:
        ValueError: it is of a kind that this revision does not have.
    """
    kind = wire.WhichOneof("kind")
    if kind is None:
        raise ValueError("an event of the history has no kind that this worker knows: update the worker")
    return _FROM_WIRE[kind](wire.time_ms, getattr(wire, kind))


def events_from_wire(wires: Iterable[history_pb2.Event]) -> list[events.Event]:
    return [event_from_wire(wire) for wire in wires]


_FROM_WIRE: Final[dict[str, Callable[[int, Any], events.Event]]] = {
    "run_started": lambda at, e: events.RunStarted(
        at=at,
        workflow=e.workflow,
        version=e.version,
        input=payload_from_wire(e.input),
        workflow_id=e.workflow_id,
        queue=e.queue,
    ),
    "task_completed": lambda at, e: events.TaskCompleted(
        at=at,
        address=e.address,
        output=payload_from_wire(e.output),
        attempt=e.attempt,
        duration_ms=e.duration_ms,
        worker=e.worker,
    ),
    "task_failed": lambda at, e: events.TaskFailed(
        at=at, address=e.address, failure=failure_from_wire(e.failure), worker=e.worker
    ),
    "timer_fired": lambda at, e: events.TimerFired(at=at, address=e.address),
    "signal_received": lambda at, e: events.SignalReceived(
        at=at, name=e.name, value=payload_from_wire(e.value)
    ),
    "task_scheduled": lambda at, e: events.TaskScheduled(
        at=at, address=e.address, task=e.task, input=payload_from_wire(e.input)
    ),
    "task_cancelled": lambda at, e: events.TaskCancelled(at=at, address=e.address),
    "timer_started": lambda at, e: events.TimerStarted(at=at, address=e.address, due_ms=e.due_ms),
    "timer_cancelled": lambda at, e: events.TimerCancelled(at=at, address=e.address),
    "run_completed": lambda at, e: events.RunCompleted(at=at, output=payload_from_wire(e.output)),
    "run_failed": lambda at, e: events.RunFailed(at=at, failure=failure_from_wire(e.failure)),
    "task_started": lambda at, e: events.TaskStarted(
        at=at, address=e.address, attempt=e.attempt, worker=e.worker
    ),
    "task_attempt_failed": lambda at, e: events.TaskAttemptFailed(
        at=at,
        address=e.address,
        attempt=e.attempt,
        failure=failure_from_wire(e.failure),
        retry_at_ms=e.retry_at_ms,
        worker=e.worker,
    ),
    "task_dispatched": lambda at, e: events.TaskDispatched(at=at, address=e.address, queue=e.queue),
    "task_retry_due": lambda at, e: events.TaskRetryDue(at=at, address=e.address),
}


def commit_to_wire(lease: common_pb2.Lease, commit: Commit) -> worker_pb2.WorkerMessage:
    message = worker_pb2.WorkerMessage()
    wire = message.commit
    wire.lease.CopyFrom(lease)
    wire.number = commit.number
    added = wire.events.add
    for item in commit.items:
        if isinstance(item, Dispatch):
            _write_event(added(), item.note)
            wire.dispatches.append(spec_to_wire(item.spec))
        else:
            _write_event(added(), item)
    if commit.drain:
        wire.drain = True
        wire.idle = commit.idle
    if commit.stall is not None:
        _write_failure(wire.stall, commit.stall)
    return message


def spec_to_wire(spec: TaskSpec) -> history_pb2.TaskSpec:
    timeout = spec.options.timeout
    return history_pb2.TaskSpec(
        address=spec.address,
        task=spec.task,
        input=payload_to_wire(spec.input),
        queue=spec.queue,
        retry=retry_to_wire(spec.options.retry),
        attempt_timeout=None if timeout is None else _duration(timeout),
        deadline_ms=spec.deadline_ms,
        attempts_made=spec.attempts_made,
        workflow_id=spec.workflow_id,
    )


def retry_to_wire(retry: Retry) -> common_pb2.RetryPolicy:
    return common_pb2.RetryPolicy(
        attempts_max=retry.attempts or 0,
        first_delay=_duration(retry.first),
        max_delay=_duration(retry.max),
        factor=retry.factor,
        jitter=retry.jitter,
        non_retryable=[kind.__name__ for kind in retry.non_retryable],
    )


def release_to_wire(lease: Lease) -> worker_pb2.WorkerMessage:
    return worker_pb2.WorkerMessage(release=worker_pb2.Release(lease=lease_to_wire(lease)))


def need_history_to_wire(lease: Lease, first_index: int) -> worker_pb2.WorkerMessage:
    need = worker_pb2.NeedHistory(lease=lease_to_wire(lease), first_index=first_index)
    return worker_pb2.WorkerMessage(need_history=need)


def task_start_to_wire(lease: Lease) -> worker_pb2.WorkerMessage:
    return worker_pb2.WorkerMessage(task_start=worker_pb2.TaskStart(lease=lease_to_wire(lease)))


def report_to_wire(report: messages.TaskReport) -> worker_pb2.WorkerMessage:
    wire = worker_pb2.TaskReport(
        lease=lease_to_wire(report.lease), final=report.final, duration_ms=report.duration_ms
    )
    if isinstance(report.outcome, Payload):
        wire.output.CopyFrom(payload_to_wire(report.outcome))
    else:
        wire.failure.CopyFrom(failure_to_wire(report.outcome))
    return worker_pb2.WorkerMessage(task_report=wire)


def inbound_from_wire(message: worker_pb2.CoordinatorMessage) -> messages.Inbound | None:
    """What the main thread is to know of *message*; None for what only the session needs."""
    match message.WhichOneof("kind"):
        case "commit_result":
            return _commit_result(message.commit_result)
        case "run_grant":
            return _run_grant(message.run_grant)
        case "history_page":
            page = message.history_page
            return messages.HistoryPage(
                lease=lease_from_wire(page.lease),
                first_index=page.first_index,
                events=events_from_wire(page.events),
                refusal=refusal_from_wire(page),
            )
        case "task_assignment":
            return _assignment(message.task_assignment)
        case "poke":
            return messages.Poke(lease_from_wire(message.poke.lease))
        case "cancel":
            return messages.Cancel(lease_from_wire(message.cancel.lease))
        case _:
            return None


def _commit_result(result: worker_pb2.CommitResult) -> messages.CommitResult:
    return messages.CommitResult(
        lease=lease_from_wire(result.lease),
        number=result.number,
        length=result.length,
        drained=events_from_wire(result.drained) if result.drained else (),
        mail_waits=result.mail_waits,
        released=result.released,
        refusal=refusal_from_wire(result),
    )


def _run_grant(grant: worker_pb2.RunGrant) -> messages.RunGrant:
    return messages.RunGrant(
        lease=lease_from_wire(grant.lease),
        workflow_id=grant.workflow_id,
        workflow=grant.workflow,
        version=grant.version,
        queue=grant.queue,
        length=grant.length,
        first_index=grant.first_index,
        events=events_from_wire(grant.events),
    )


def _assignment(assignment: worker_pb2.TaskAssignment) -> messages.TaskAssignment:
    spec = assignment.spec
    limited = spec.HasField("attempt_timeout")
    return messages.TaskAssignment(
        lease=lease_from_wire(assignment.lease),
        task=spec.task,
        input=payload_from_wire(spec.input),
        timeout_s=spec.attempt_timeout.ToTimedelta().total_seconds() if limited else None,
        deadline_ms=spec.deadline_ms,
        workflow_id=spec.workflow_id,
        attempt=assignment.attempt,
    )


def frames(
    pending: Sequence[worker_pb2.WorkerMessage], bytes_max: int
) -> Iterable[worker_pb2.SessionRequest]:
    """All of *pending*, in order, in as few frames of at most *bytes_max* as one message each allows."""
    frame: list[worker_pb2.WorkerMessage] = []
    size = 0
    for message in pending:
        message_bytes = message.ByteSize() + 8
        if frame and size + message_bytes > bytes_max:
            yield worker_pb2.SessionRequest(messages=frame)
            frame, size = [], 0
        frame.append(message)
        size += message_bytes
    if frame:
        yield worker_pb2.SessionRequest(messages=frame)


def _duration(value: timedelta) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromTimedelta(value)
    return duration
