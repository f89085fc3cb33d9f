"""What workers say came of remote tasks: recorded, or tried again."""

from __future__ import annotations

import random
from functools import partial

import grpc

from aiki.v1 import history_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.core.retry import next_delay_ms
from aiki_server.core.runs import Completed, Fenced, LeaseToken, Retrying
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.session import Session, lease_from_wire
from aiki_server.rpc.status import status


class Reports:
    """Takes reports; every one is answered."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    def take(self, session: Session, report: worker_pb2.TaskReport) -> None:
        """Record an outcome, or have the task tried again."""
        token = lease_from_wire(report.lease)
        assigned = session.assigned.pop((token.run_id, token.address), None)
        if assigned is not None:
            self._judge(session, report, token, *assigned)
            return
        # The lease was adopted from another stream: the store knows what the task is.
        spec = self._stores.tasks.spec(run_id=token.run_id, address=token.address)
        self._hub.when_done(spec, partial(self._found, session, report, token))

    def _found(
        self,
        session: Session,
        report: worker_pb2.TaskReport,
        token: LeaseToken,
        found: tuple[bytes, int] | None,
    ) -> None:
        # One that is over is fenced, or answered like the first time, by the script.
        spec, attempt = found or (b"", 1)
        self._judge(session, report, token, history_pb2.TaskSpec.FromString(spec), attempt)

    def _judge(
        self,
        session: Session,
        report: worker_pb2.TaskReport,
        token: LeaseToken,
        spec: history_pb2.TaskSpec,
        attempt: int,
    ) -> None:
        due_ms = None
        if report.HasField("failure") and not report.final:
            due_ms = self._retry_at_ms(spec, attempt, report.failure.type)
        if due_ms is None:
            event = self._event(session, report, attempt)
            done = self._stores.tasks.complete(
                token=token, incarnation=session.incarnation, event=event.SerializeToString()
            )
            self._hub.when_done(done, partial(self._answer, session, report))
        else:
            failure = report.failure.SerializeToString()
            retry = self._stores.tasks.retry(
                token=token, incarnation=session.incarnation, due_ms=due_ms, failure=failure
            )
            self._hub.when_done(retry, partial(self._answer, session, report))

    def _retry_at_ms(self, spec: history_pb2.TaskSpec, attempt: int, error_type: str) -> int | None:
        delay_ms = next_delay_ms(spec.retry, attempt, error_type, random.random())
        if delay_ms is None:
            return None
        due_ms = self._stores.clock.now_ms() + delay_ms
        return None if 0 < spec.deadline_ms <= due_ms else due_ms

    def _event(self, session: Session, report: worker_pb2.TaskReport, attempt: int) -> history_pb2.Event:
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        if report.HasField("failure"):
            failed = event.task_failed
            failed.address, failed.worker = report.lease.address, session.hello.identity
            failed.failure.CopyFrom(report.failure)
            failed.failure.attempts = attempt
        else:
            completed = event.task_completed
            completed.address, completed.worker = report.lease.address, session.hello.identity
            completed.output.CopyFrom(report.output)
            completed.attempt, completed.duration_ms = attempt, report.duration_ms
        return event

    def _answer(
        self, session: Session, report: worker_pb2.TaskReport, answer: Completed | Retrying | Fenced
    ) -> None:
        result = worker_pb2.TaskReportResult(lease=report.lease)
        match answer:
            case Completed():
                self._hub.attend(answer.attention)
            case Retrying():
                self._hub.timers_changed(ids.partition_of_run(report.lease.run_id))
            case Fenced():
                message = f"the lease of task {report.lease.address} of run {report.lease.run_id} is over"
                result.error.CopyFrom(status(grpc.StatusCode.ABORTED, "FENCED", message))
        session.send(worker_pb2.CoordinatorMessage(task_report_result=result))
