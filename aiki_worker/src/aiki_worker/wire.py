"""Between protobuf and plain values: the only module that makes or reads messages' fields.

Invariant: what is written here and read back is equal, event by event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, cast

from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]  ships them unmarked

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_client.event_wire import (
    events_from_wire,
    failure_to_wire,
    payload_from_wire,
    payload_to_wire,
    placement_to_wire,
    write_event,
    write_failure,
    write_payload,
)
from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.retry import Retry
from aiki_worker import messages
from aiki_worker.messages import Lease, Refusal
from aiki_worker.run_ledger import Commit, Dispatch, TaskSpec


def lease_to_wire(lease: Lease) -> common_pb2.Lease:
    return common_pb2.Lease(run_id=lease.run_id, address=lease.address, epoch=lease.epoch, nonce=lease.nonce)


def lease_from_wire(lease: common_pb2.Lease) -> Lease:
    return Lease(lease.run_id, lease.address, lease.epoch, lease.nonce)


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


def commit_to_wire(lease: common_pb2.Lease, commit: Commit) -> worker_pb2.WorkerMessage:
    message = worker_pb2.WorkerMessage()
    wire = message.commit
    wire.lease.CopyFrom(lease)
    wire.number = commit.number
    added = wire.events.add
    for item in commit.items:
        if isinstance(item, Dispatch):
            write_event(added(), item.note)
            wire.dispatches.append(spec_to_wire(item.spec))
        else:
            write_event(added(), item)
    if commit.drain:
        wire.drain = True
        wire.idle = commit.idle
    if commit.stall is not None:
        write_failure(wire.stall, commit.stall)
    return message


def spec_to_wire(spec: TaskSpec) -> history_pb2.TaskSpec:
    return history_pb2.TaskSpec(
        address=spec.address,
        task=spec.task,
        input=payload_to_wire(spec.input),
        queue=spec.queue,
        retry=retry_to_wire(spec.options.retry),
        attempt_timeout=_optional_duration(spec.options.timeout),
        deadline_ms=spec.deadline_ms,
        attempts_made=spec.attempts_made,
        workflow_id=spec.workflow_id,
        placement=placement_to_wire(spec.placement),
        queue_timeout=_optional_duration(spec.options.queue_timeout),
        at_most_once=spec.options.at_most_once,
        heartbeat_timeout=_optional_duration(spec.options.heartbeat_timeout),
        checkpoint=None if spec.checkpoint is None else payload_to_wire(spec.checkpoint),
        traceparent=spec.traceparent,
        trace_link=spec.trace_link,
        dispatched_ms=spec.dispatched_ms,
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


def recall_ack_to_wire(lease: Lease, reason: messages.Refusing) -> worker_pb2.WorkerMessage:
    ack = worker_pb2.RecallAck(lease=lease_to_wire(lease), refusal=_REFUSALS[reason])
    return worker_pb2.WorkerMessage(recall_ack=ack)


def need_history_to_wire(lease: Lease, first_index: int) -> worker_pb2.WorkerMessage:
    need = worker_pb2.NeedHistory(lease=lease_to_wire(lease), first_index=first_index)
    return worker_pb2.WorkerMessage(need_history=need)


def task_start_to_wire(lease: Lease, *, answer: bool = False) -> worker_pb2.WorkerMessage:
    start = worker_pb2.TaskStart(lease=lease_to_wire(lease), answer=answer)
    return worker_pb2.WorkerMessage(task_start=start)


def report_to_wire(report: messages.TaskReport) -> worker_pb2.WorkerMessage:
    wire = worker_pb2.TaskReport(
        lease=lease_to_wire(report.lease), final=report.final, duration_ms=report.duration_ms
    )
    match report.outcome:
        case None:
            wire.deferred = True
        case Payload():
            wire.output.CopyFrom(payload_to_wire(report.outcome))
        case FailureInfo():
            wire.failure.CopyFrom(failure_to_wire(report.outcome))
    if report.retry_after_s is not None:
        wire.retry_after.CopyFrom(_duration(timedelta(seconds=report.retry_after_s)))
    return worker_pb2.WorkerMessage(task_report=wire)


def progress_to_wire(lease: Lease, checkpoint: Payload | None) -> worker_pb2.WorkerMessage:
    progress = worker_pb2.TaskProgress(lease=lease_to_wire(lease))
    if checkpoint is not None:
        write_payload(progress.checkpoint, checkpoint)
    return worker_pb2.WorkerMessage(task_progress=progress)


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
        case "task_report_result":
            answer = message.task_report_result
            return messages.TaskReportResult(lease_from_wire(answer.lease), refusal_from_wire(answer))
        case "poke":
            return messages.Poke(lease_from_wire(message.poke.lease))
        case "cancel":
            return messages.Cancel(lease_from_wire(message.cancel.lease))
        case "recall":
            recall = message.recall
            return messages.Recall(lease_from_wire(recall.lease), recall.unstarted_only)
        case "task_start_result":
            result = message.task_start_result
            return messages.TaskStartResult(lease_from_wire(result.lease), refusal_from_wire(result))
        case "query":
            return _query(message.query)
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
        lease_losses=grant.lease_losses,
        priority=grant.priority,
    )


def _query(query: worker_pb2.Query) -> messages.Query:
    return messages.Query(
        query_id=query.query_id,
        run_id=query.run_id,
        workflow_id=query.workflow_id,
        workflow=query.workflow,
        version=query.version,
        queue=query.queue,
        length=query.length,
        events=events_from_wire(query.events),
        is_update=query.WhichOneof("about") == "update",
        name=query.update or query.query,
        input=payload_from_wire(query.input),
    )


def query_result_to_wire(query_id: str, outcome: Payload | FailureInfo) -> worker_pb2.WorkerMessage:
    result = worker_pb2.QueryResult(query_id=query_id)
    if isinstance(outcome, Payload):
        result.output.CopyFrom(payload_to_wire(outcome))
    else:
        result.failure.CopyFrom(failure_to_wire(outcome))
    return worker_pb2.WorkerMessage(query_result=result)


def _assignment(assignment: worker_pb2.TaskAssignment) -> messages.TaskAssignment:
    spec = assignment.spec
    return messages.TaskAssignment(
        lease=lease_from_wire(assignment.lease),
        task=spec.task,
        input=payload_from_wire(spec.input),
        timeout_s=_seconds(spec, "attempt_timeout"),
        deadline_ms=spec.deadline_ms,
        workflow_id=spec.workflow_id,
        attempt=assignment.attempt,
        at_most_once=spec.at_most_once,
        slots=max(spec.placement.slots, 1),
        heartbeat_s=_seconds(spec, "heartbeat_timeout"),
        checkpoint=payload_from_wire(spec.checkpoint) if spec.HasField("checkpoint") else None,
        completion_token=assignment.completion_token,
        traceparent=spec.traceparent,
        trace_link=spec.trace_link,
        queue=spec.queue,
        dispatched_ms=spec.dispatched_ms if assignment.attempt == spec.attempts_made + 1 else 0,
    )


_REFUSALS: Final = {
    messages.Refusing.STARTED: worker_pb2.RecallAck.REFUSAL_STARTED,
    messages.Refusing.NOT_HELD: worker_pb2.RecallAck.REFUSAL_NOT_HELD,
}


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


def _seconds(
    spec: history_pb2.TaskSpec, name: Literal["attempt_timeout", "heartbeat_timeout"]
) -> float | None:
    if not spec.HasField(name):
        return None
    duration: duration_pb2.Duration = getattr(spec, name)
    return duration.ToTimedelta().total_seconds()


def _optional_duration(value: timedelta | None) -> duration_pb2.Duration | None:
    return None if value is None else _duration(value)


def _duration(value: timedelta) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromTimedelta(value)
    return duration
