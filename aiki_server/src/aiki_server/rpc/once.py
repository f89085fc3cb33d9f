"""Tasks that run at most once: their start is recorded before they begin, and losing them fails them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import grpc
import structlog

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.core.runs import Begun, Completed, Fenced
from aiki_server.rpc.session import Session, lease_from_wire
from aiki_server.rpc.status import status

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub

log = structlog.get_logger(__name__)


def record_start(hub: Hub, session: Session, start: worker_pb2.TaskStart) -> None:
    """Record that a task begins; where its worker waits for that, answer."""
    future = hub.stores.tasks.start(token=lease_from_wire(start.lease), once=start.answer)
    if start.answer:
        hub.when_done(future, partial(_answer, session, start), lambda _: session.end())
    else:
        hub.when_done(future, lambda _: None)


def fail_begun(hub: Hub, begun: Begun) -> None:
    """Its worker is gone: nobody knows how it ended, and it is not made again."""
    token = begun.token
    log.warning("the outcome of a task is unknown", run_id=token.run_id, address=token.address)
    event = history_pb2.Event(time_ms=hub.stores.clock.now_ms())
    failed = event.task_failed
    failed.address, failed.worker = token.address, begun.worker
    failed.failure.kind = common_pb2.FAILURE_KIND_ERROR
    failed.failure.type = "OutcomeUnknown"
    failed.failure.message = f"worker {begun.worker} had begun it and is gone; it runs at most once, so find out whether it took effect"
    failed.failure.attempts = 1
    done = hub.stores.tasks.complete(
        token=token, incarnation=begun.incarnation, event=event.SerializeToString()
    )
    hub.when_done(done, partial(_failed, hub))


def _failed(hub: Hub, answer: Completed | Fenced) -> None:
    if isinstance(answer, Completed):
        hub.attend(answer.attention)


def _answer(session: Session, start: worker_pb2.TaskStart, stands: bool) -> None:  # noqa: FBT001  the store's answer
    result = worker_pb2.TaskStartResult(lease=start.lease)
    if not stands:
        message = f"the lease of task {start.lease.address} of run {start.lease.run_id} is over: do not begin"
        result.error.CopyFrom(status(grpc.StatusCode.ABORTED, "FENCED", message))
    session.send(worker_pb2.CoordinatorMessage(task_start_result=result))
