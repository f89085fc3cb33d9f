"""What workers say came of remote tasks: recorded, or tried again."""

from __future__ import annotations

from functools import partial

import grpc

from aiki.v1 import history_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.core.runs import Completed, Deferred, Fenced, LeaseToken, Retrying
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.outcomes import Outcomes
from aiki_server.rpc.run_logs import keep_logs
from aiki_server.rpc.session import Session, lease_from_wire
from aiki_server.rpc.status import status
from aiki_server.telemetry.metrics import FENCED


class Reports:
    """Takes reports; every one is answered."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._outcomes = Outcomes(hub)

    def take(self, session: Session, report: worker_pb2.TaskReport) -> None:
        """Record an outcome, or have the task tried again."""
        token = lease_from_wire(report.lease)
        keep_logs(self._stores, token, report.logs)
        assigned = session.assigned.pop((token.run_id, token.address), None)
        session.holdings.ended(token)
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
        if report.deferred:
            deferred = self._stores.tasks.defer(
                token=token,
                incarnation=session.incarnation,
                until_ms=self._until_ms(spec, report.duration_ms),
            )
            self._hub.when_done(deferred, partial(self._answer, session, report))
            return
        if report.HasField("failure"):
            failed = history_pb2.TaskFailed(
                address=token.address, worker=session.hello.identity, failure=report.failure
            )
            after = report.retry_after.ToMilliseconds() if report.HasField("retry_after") else None
            self._outcomes.failed(
                token,
                session.incarnation,
                failed,
                spec=spec,
                attempt=attempt,
                final=report.final,
                retry_after_ms=after,
                then=partial(self._answer, session, report),
            )
            return
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        completed = event.task_completed
        completed.address, completed.worker = report.lease.address, session.hello.identity
        completed.output.CopyFrom(report.output)
        completed.attempt, completed.duration_ms = attempt, report.duration_ms
        done = self._stores.tasks.complete(
            token=token, incarnation=session.incarnation, event=event.SerializeToString()
        )
        self._hub.when_done(done, partial(self._answer, session, report))

    def _until_ms(self, spec: history_pb2.TaskSpec, duration_ms: int) -> int:
        """When an attempt that defers its outcome now, after *duration_ms*, is given up; 0: never."""
        if not spec.HasField("attempt_timeout"):
            return 0
        return self._stores.clock.now_ms() - duration_ms + spec.attempt_timeout.ToMilliseconds()

    def _answer(
        self,
        session: Session,
        report: worker_pb2.TaskReport,
        answer: Completed | Retrying | Deferred | Fenced,
    ) -> None:
        result = worker_pb2.TaskReportResult(lease=report.lease)
        token = lease_from_wire(report.lease)
        if isinstance(answer, Fenced):
            FENCED.add(("report",))
            message = f"the lease of task {report.lease.address} of run {report.lease.run_id} is over"
            result.error.CopyFrom(status(grpc.StatusCode.ABORTED, "FENCED", message))
        elif isinstance(answer, Deferred):
            self._hub.timers_changed(ids.partition_of_run(token.run_id))
        else:
            self._outcomes.attend(token, answer)
        session.send(worker_pb2.CoordinatorMessage(task_report_result=result))
