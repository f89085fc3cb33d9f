"""The service of workers: one stream each, answered frame by frame."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import grpc
import structlog

from aiki.v1 import history_pb2, worker_pb2, worker_pb2_grpc
from aiki_server.core import ids
from aiki_server.core.retry import next_delay_ms
from aiki_server.core.runs import (
    Attention,
    CacheMark,
    Committed,
    Completed,
    Effects,
    Fenced,
    Gap,
    Retrying,
    TaskAttention,
)
from aiki_server.rpc.effects import effects_of
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.session import Session as WorkerSession, lease_from_wire
from aiki_server.rpc.status import refuse, status

REVISION = 1
HISTORY_PAGE_EVENTS = 1000
log = structlog.get_logger(__name__)
Message = worker_pb2.CoordinatorMessage
Context = grpc.aio.ServicerContext[worker_pb2.SessionRequest, worker_pb2.SessionResponse]


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """Sessions of workers."""

    def __init__(self, hub: Hub, lease_ttl: timedelta) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._ttl = lease_ttl
        self._ttl_ms = round(lease_ttl / timedelta(milliseconds=1))
        self._count = 0

    async def Session(  # noqa: N802  the rpc's name
        self, request_iterator: AsyncIterator[worker_pb2.SessionRequest], context: Context
    ) -> AsyncIterator[worker_pb2.SessionResponse]:
        """One stream, from Hello to its end."""
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.messages or not first.messages[0].HasField("hello"):
            await refuse(
                context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "a session begins with Hello"
            )
        hello = first.messages[0].hello
        if not hello.revision_min <= REVISION <= hello.revision_max:
            reason = (
                f"this coordinator speaks protocol revision {REVISION}, the worker {hello.revision_min} to "
                f"{hello.revision_max}: upgrade the older of the two"
            )
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "REVISION_UNSUPPORTED", reason)
        session, welcome = await self._welcome(hello)
        session.send(Message(welcome=welcome))
        for message in first.messages[1:]:
            self._handle(session, message)
        reading = asyncio.ensure_future(self._read(session, request_iterator))
        try:
            while (frame := await session.next_frame()) is not None:
                yield frame
        finally:
            session.end()
            self._hub.remove(session)
            reading.cancel()
            await asyncio.wait({reading})
            if session.draining:
                await self._stores.sessions.remove(incarnation=session.incarnation)

    async def _read(self, session: WorkerSession, frames: AsyncIterator[worker_pb2.SessionRequest]) -> None:
        try:
            async for frame in frames:
                for message in frame.messages:
                    self._handle(session, message)
        finally:
            session.end()

    async def _welcome(self, hello: worker_pb2.Hello) -> tuple[WorkerSession, worker_pb2.Welcome]:
        """New incarnation first, then its leases, and only then the old one goes."""
        self._count += 1
        incarnation = ids.incarnation(self._hub.coordinator_id, hello.session_id, self._count)
        session = WorkerSession(hello, incarnation)
        sessions = self._stores.sessions
        await sessions.add(incarnation=incarnation, ttl_ms=self._ttl_ms)
        old = hello.resume_incarnation
        tokens = [lease_from_wire(lease) for lease in hello.leases]
        adopting = [self._stores.runs.adopt(token=token, old=old, new=incarnation) for token in tokens]
        kept = await asyncio.gather(*adopting)
        if old:
            await sessions.remove(incarnation=old)
        await sessions.record_handlers(
            namespace=session.namespace,
            queues=session.queues,
            handlers=session.handlers,
            ttl_ms=3 * self._ttl_ms,
        )
        self._hub.add(session)
        welcome = worker_pb2.Welcome(
            revision=REVISION,
            incarnation=incarnation,
            lost=[lease for lease, held in zip(hello.leases, kept, strict=True) if not held],
            store_time_ms=self._stores.clock.now_ms(),
        )
        welcome.lease_ttl.FromTimedelta(self._ttl)
        await self._wake_stalled(session)
        return session, welcome

    async def _wake_stalled(self, session: WorkerSession) -> None:
        """Other code is here: runs that were parked by a bug are tried again, once for each new session."""
        if session.hello.resume_incarnation:
            return
        for handler in session.hello.workflows:
            for partition in range(self._stores.partitions):
                stalled = await self._stores.listing.stalled(
                    partition=partition,
                    namespace=session.namespace,
                    workflow=handler.name,
                    version=handler.version,
                )
                for run_id in stalled:
                    answer = await self._stores.runs.unstall(run_id=run_id)
                    if isinstance(answer, Attention):
                        self._hub.attend(answer)

    def _handle(self, session: WorkerSession, message: worker_pb2.WorkerMessage) -> None:
        match message.WhichOneof("kind"):
            case "commit":
                self._commit(session, message.commit)
            case "task_report":
                self._report(session, message.task_report)
            case "credit":
                session.set_credit(message.credit)
                self._hub.credit_came.set()
            case "renew":
                future = self._stores.sessions.renew(incarnation=session.incarnation, ttl_ms=self._ttl_ms)
                self._hub.when_done(future, partial(self._renewed, session))
            case "release":
                self._release(session, message.release)
            case "need_history":
                self._history(session, message.need_history)
            case "task_start":
                token = lease_from_wire(message.task_start.lease)
                self._hub.when_done(self._stores.tasks.start(token=token), lambda _: None)
            case "drain":
                session.draining = True
            case _:
                log.warning("a message that is not understood", worker=session.hello.identity)

    def _renewed(self, session: WorkerSession, alive: bool) -> None:  # noqa: FBT001  the store's answer
        renewed = worker_pb2.Renewed(store_time_ms=self._stores.clock.now_ms())
        if not alive:
            message = "the session was not renewed in time: its leases are gone"
            renewed.error.CopyFrom(status(grpc.StatusCode.ABORTED, "SESSION_LOST", message))
        session.send(Message(renewed=renewed))

    def _commit(self, session: WorkerSession, commit: worker_pb2.Commit) -> None:
        effects = effects_of(commit)
        future = self._stores.runs.commit(
            token=lease_from_wire(commit.lease),
            incarnation=session.incarnation,
            number=commit.number,
            events=[event.SerializeToString() for event in commit.events],
            effects=effects,
            drain=commit.drain,
            idle=commit.idle,
            stall=commit.stall.SerializeToString() if commit.HasField("stall") else None,
            namespace=session.namespace,
        )
        self._hub.when_done(future, partial(self._committed, session, commit, effects))

    def _committed(
        self,
        session: WorkerSession,
        commit: worker_pb2.Commit,
        effects: Effects,
        answer: Committed | Fenced | Gap,
    ) -> None:
        result = worker_pb2.CommitResult(lease=commit.lease, number=commit.number)
        match answer:
            case Committed():
                result.length = answer.length
                result.mail_waits = answer.mail_waits
                result.released = answer.released
                if answer.drained:
                    result.drained.extend(history_pb2.Event.FromString(event) for event in answer.drained)
                self._after_commit(session, commit, effects, answer)
            case Fenced():
                message = f"the lease of run {commit.lease.run_id} is over"
                result.error.CopyFrom(status(grpc.StatusCode.ABORTED, "FENCED", message))
            case Gap():
                message = f"commit {answer.last_number + 1} of run {commit.lease.run_id} is missing"
                result.error.CopyFrom(status(grpc.StatusCode.ABORTED, "GAP", message))
        session.send(Message(commit_result=result))

    def _after_commit(
        self, session: WorkerSession, commit: worker_pb2.Commit, effects: Effects, answer: Committed
    ) -> None:
        run_id = commit.lease.run_id
        for spec in commit.dispatches:
            self._hub.attend(
                TaskAttention(
                    run_id, spec.address, session.namespace, spec.queue, ids.task_handler(spec.task)
                )
            )
        for held in answer.cancelled_leases:
            self._hub.cancel(held)
        if answer.closed or commit.HasField("stall"):
            for coordinator_id in {*answer.waiters, self._hub.coordinator_id}:
                self._hub.tell(coordinator_id, f"ended {run_id}")
        elif answer.released:
            session.remember(run_id, CacheMark(commit.lease.epoch, commit.lease.nonce, answer.length))
            self._hub.keep_near(run_id, session)
        if effects.timers:
            self._hub.timers_changed(ids.partition_of_run(run_id))

    def _release(self, session: WorkerSession, release: worker_pb2.Release) -> None:
        token = lease_from_wire(release.lease)
        store = self._stores.tasks if token.address else self._stores.runs
        self._hub.released(store.release(token=token, incarnation=session.incarnation))
        session.send(Message(release_result=worker_pb2.ReleaseResult(lease=release.lease)))

    def _history(self, session: WorkerSession, need: worker_pb2.NeedHistory) -> None:
        length = session.lengths.get(need.lease.run_id, 0)
        count = min(HISTORY_PAGE_EVENTS, max(length - need.first_index, 0))
        future = self._stores.runs.history(run_id=need.lease.run_id, first=need.first_index, count=count)
        self._hub.when_done(future, partial(self._page, session, need))

    def _page(self, session: WorkerSession, need: worker_pb2.NeedHistory, events: list[bytes]) -> None:
        page = worker_pb2.HistoryPage(
            lease=need.lease,
            first_index=need.first_index,
            events=[history_pb2.Event.FromString(event) for event in events],
        )
        session.send(Message(history_page=page))

    def _report(self, session: WorkerSession, report: worker_pb2.TaskReport) -> None:
        token = lease_from_wire(report.lease)
        spec, attempt = session.assigned.pop((token.run_id, token.address), (None, 1))
        now_ms = self._stores.clock.now_ms()
        worker = session.hello.identity
        if report.HasField("failure") and spec is not None and not report.final:
            delay_ms = next_delay_ms(spec.retry, attempt, report.failure.type, random.random())
            if delay_ms is not None and not 0 < spec.deadline_ms <= now_ms + delay_ms:
                failure = report.failure.SerializeToString()
                retry = self._stores.tasks.retry(
                    token=token, incarnation=session.incarnation, due_ms=now_ms + delay_ms, failure=failure
                )
                self._hub.when_done(retry, partial(self._reported, session, report))
                return
        event = history_pb2.Event(time_ms=now_ms)
        if report.HasField("failure"):
            event.task_failed.address = token.address
            event.task_failed.failure.CopyFrom(report.failure)
            event.task_failed.failure.attempts = attempt
            event.task_failed.worker = worker
        else:
            event.task_completed.address = token.address
            event.task_completed.output.CopyFrom(report.output)
            event.task_completed.attempt = attempt
            event.task_completed.duration_ms = report.duration_ms
            event.task_completed.worker = worker
        complete = self._stores.tasks.complete(
            token=token, incarnation=session.incarnation, event=event.SerializeToString()
        )
        self._hub.when_done(complete, partial(self._reported, session, report))

    def _reported(
        self, session: WorkerSession, report: worker_pb2.TaskReport, answer: Completed | Retrying | Fenced
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
        session.send(Message(task_report_result=result))
