"""The service of workers: one stream each, answered frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import grpc
import structlog

from aiki.v1 import history_pb2, worker_pb2, worker_pb2_grpc
from aiki_server.core import ids
from aiki_server.core.runs import (
    Attention,
    CacheMark,
    Committed,
    Effects,
    Fenced,
    Gap,
    LeaseToken,
    RunState,
    TaskAttention,
)
from aiki_server.rpc.continuing import next_run_of
from aiki_server.rpc.effects import effects_of
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import PAYLOAD_BYTES_MAX
from aiki_server.rpc.once import record_start
from aiki_server.rpc.placements import placement_from_wire
from aiki_server.rpc.reports import Reports
from aiki_server.rpc.run_logs import keep_logs
from aiki_server.rpc.served import Served
from aiki_server.rpc.session import Session as WorkerSession, lease_from_wire
from aiki_server.rpc.stalled import StalledRuns
from aiki_server.rpc.status import refuse, refuse_store, status
from aiki_server.rpc.tallies import tally_commit
from aiki_server.store.errors import StoreError, StoreScriptError
from aiki_server.telemetry.metrics import RELEASES, RUNS_STARTED

REVISION_MIN, REVISION = 1, 2
"""What this coordinator speaks; 2: see docs/protocol.md."""
HISTORY_PAGE_EVENTS = 1000
GREETED_AT_ONCE = 32
"""Of many that come at the same time the others wait, in order: their adoptions would only slow each other down."""
COMMIT_EVENTS_MAX = 1000
"""Commands and notes; what is drained besides is bounded by the script."""
log = structlog.get_logger(__name__)
Message = worker_pb2.CoordinatorMessage
Context = grpc.aio.ServicerContext[worker_pb2.SessionRequest, worker_pb2.SessionResponse]


@dataclass(slots=True)
class _Sent:
    """A commit on its way to the store, and what was read out of it."""

    commit: worker_pb2.Commit
    token: LeaseToken
    effects: Effects
    stalls: bool = False


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """Sessions of workers."""

    def __init__(self, hub: Hub, lease_ttl: timedelta, stalled: StalledRuns) -> None:
        self._hub = hub
        self._stalled = stalled
        self._admission = asyncio.Semaphore(GREETED_AT_ONCE)
        self._stores = hub.stores
        self._ttl = lease_ttl
        self._ttl_ms = round(lease_ttl / timedelta(milliseconds=1))
        self._count = 0
        self._reports = Reports(hub)
        self._served = Served(hub.stores.sessions, self._ttl_ms)

    async def Session(  # noqa: N802  the rpc's name
        self, request_iterator: AsyncIterator[worker_pb2.SessionRequest], context: Context
    ) -> AsyncIterator[worker_pb2.SessionResponse]:
        """One stream, from Hello to its end."""
        first = await anext(aiter(request_iterator), None)
        try:
            session = await self._greet(first, context)
        except StoreError as error:
            await refuse_store(context, error)
        is_gone = False
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._read(session, request_iterator))]
            try:
                while (frame := await session.next_frame()) is not None:
                    yield frame
            except GeneratorExit:
                # The stream is gone. Raised through the group it would come out as a group, which gRPC cannot know.
                is_gone = True
            finally:
                for task in beside:
                    task.cancel()
                session.end()
                self._hub.remove(session)
        if session.fault and not is_gone:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", session.fault)
        if session.draining and not self._hub.draining.is_set():
            await self._stores.sessions.remove(incarnation=session.incarnation)

    async def _greet(self, first: worker_pb2.SessionRequest | None, context: Context) -> WorkerSession:
        """Take the first frame."""
        if first is None or not first.messages or not first.messages[0].HasField("hello"):
            reason = "a session begins with Hello"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", reason)
        hello = first.messages[0].hello
        if hello.revision_min > REVISION or hello.revision_max < REVISION_MIN:
            reason = (
                f"this coordinator speaks protocol revisions {REVISION_MIN} to {REVISION}, the worker "
                f"{hello.revision_min} to {hello.revision_max}: upgrade the older of the two"
            )
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "REVISION_UNSUPPORTED", reason)
        if self._hub.draining.is_set():
            reason = "this coordinator is going: take another"
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "DRAINING", reason)
        async with self._admission:
            session, welcome = await self._welcome(hello)
        if not hello.resume_incarnation:
            self._stalled.try_again(session)
        session.send(Message(welcome=welcome))
        self._take(session, first.messages[1:])
        return session

    async def _read(self, session: WorkerSession, frames: AsyncIterator[worker_pb2.SessionRequest]) -> None:
        try:
            async for frame in frames:
                if session.cut_off:
                    log.warning(
                        "a worker does not read what it is sent: cut off", worker=session.hello.identity
                    )
                    return
                self._take(session, frame.messages)
        finally:
            session.end()

    def _take(self, session: WorkerSession, messages: Iterable[worker_pb2.WorkerMessage]) -> None:
        for message in messages:
            try:
                self._handle(session, message)
            except ValueError as error:
                # Such as an id that is none: the worker is broken, and what it says next means nothing.
                session.end_by(f"{message.WhichOneof('kind')}: {error}")
                return

    async def _welcome(self, hello: worker_pb2.Hello) -> tuple[WorkerSession, worker_pb2.Welcome]:
        """New incarnation first, then its leases, and only then the old one goes."""
        self._count += 1
        incarnation = ids.incarnation(self._hub.coordinator_id, hello.session_id, self._count)
        session = WorkerSession(hello, incarnation, min(REVISION, hello.revision_max))
        sessions = self._stores.sessions
        await sessions.add(incarnation=incarnation, ttl_ms=self._ttl_ms)
        old = hello.resume_incarnation
        if (before := self._hub.sessions.get(old)) is not None:
            # Half open: the worker has given up on that stream.
            before.end()
            self._hub.remove(before)
        tokens = [lease_from_wire(lease) for lease in hello.leases]
        adopting = [self._stores.runs.adopt(token=token, old=old, new=incarnation) for token in tokens]
        kept = await asyncio.gather(*adopting)
        self._hub.stealing.joined(session, before, map(lease_from_wire, hello.unstarted))
        for token, held in zip(tokens, kept, strict=True):
            if held:
                session.holdings.given(token)
        session.connect_time_ms = self._stores.clock.now_ms()
        if old:
            await sessions.remove(incarnation=old)
            if not all(kept):
                await sessions.returned(incarnation=old)
        await self._say_what_it_serves(session)
        self._hub.add(session)
        welcome = worker_pb2.Welcome(
            revision=session.revision,
            incarnation=incarnation,
            lost=[lease for lease, held in zip(hello.leases, kept, strict=True) if not held],
            store_time_ms=self._stores.clock.now_ms(),
            counts_slots=hello.counts_slots,
        )
        welcome.lease_ttl.FromTimedelta(self._ttl)
        return session, welcome

    def _say_what_it_serves(self, session: WorkerSession) -> asyncio.Future[None]:
        return self._served.say(session)

    def _handle(self, session: WorkerSession, message: worker_pb2.WorkerMessage) -> None:
        self._hub.stealing.heard(session, message)
        match message.WhichOneof("kind"):
            case "commit":
                self._commit(session, message.commit)
            case "task_report":
                self._reports.take(session, message.task_report)
            case "credit":
                session.credit.set(message.credit)
                self._hub.matching.credit_given(session)
                self._hub.stealing.changed()
            case "renew":
                future = self._stores.sessions.renew(incarnation=session.incarnation, ttl_ms=self._ttl_ms)
                self._hub.when_done(future, partial(self._renewed, session))
                self._hub.when_done(self._say_what_it_serves(session), lambda _: None)
            case "release":
                self._release(session, message.release)
            case "need_history":
                self._history(session, message.need_history)
            case "task_start":
                record_start(self._hub, session, message.task_start)
            case "task_progress":
                self._progress(session, message.task_progress)
            case "drain":
                session.draining = True
            case "recall_ack":
                self._hub.stealing.refused(session, message.recall_ack)
            case "query_result":
                self._hub.questions.answered(message.query_result)
            case kind:
                raise ValueError(f"not understood within a session (field {kind})")

    def _progress(self, session: WorkerSession, progress: worker_pb2.TaskProgress) -> None:
        if len(progress.checkpoint.data) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"a checkpoint takes {PAYLOAD_BYTES_MAX:,} bytes at most")
        token = lease_from_wire(progress.lease)
        keep_logs(self._stores, token, progress.logs)
        if not progress.HasField("checkpoint"):
            return
        kept = self._stores.tasks.progress(
            token=token,
            incarnation=session.incarnation,
            checkpoint=progress.checkpoint.SerializeToString(),
        )
        self._hub.when_done(kept, lambda _: None)

    def _renewed(self, session: WorkerSession, alive: bool) -> None:  # noqa: FBT001  the store's answer
        renewed = worker_pb2.Renewed(store_time_ms=self._stores.clock.now_ms())
        if not alive:
            self._hub.when_done(
                self._stores.sessions.returned(incarnation=session.incarnation), lambda _: None
            )
            message = "the session was not renewed in time: its leases are gone"
            renewed.error.CopyFrom(status(grpc.StatusCode.ABORTED, "SESSION_LOST", message))
        session.send(Message(renewed=renewed))

    def _commit(self, session: WorkerSession, commit: worker_pb2.Commit) -> None:
        events = list(commit.events)
        if len(events) > COMMIT_EVENTS_MAX:
            self._invalid(session, commit, f"a commit takes {COMMIT_EVENTS_MAX} events at most: cut it")
            return
        token = lease_from_wire(commit.lease)

        def run_id_of_child(child: history_pb2.ChildScheduled) -> str:
            return ids.child_run_id(
                session.namespace, child.workflow_id, token.run_id, child.address, self._stores.partitions
            )

        effects = effects_of(events, commit.dispatches, run_id_of_child=run_id_of_child)
        sent = _Sent(commit, token, effects, stalls=commit.HasField("stall"))
        if sent.stalls:
            commit.stall.build_id = session.hello.build_id
        failed = partial(self._not_committed, session, commit)
        if effects.closing is RunState.CONTINUED:
            # How it began says how the next one does.
            first = self._stores.runs.history(run_id=token.run_id, first=0, count=1)
            self._hub.when_done(first, partial(self._continue, session, sent), failed)
        else:
            self._send_commit(session, sent)

    def _continue(self, session: WorkerSession, sent: _Sent, first: list[bytes]) -> None:
        if first:
            sent.effects.next_run = next_run_of(
                sent.token.run_id,
                session.namespace,
                self._stores.partitions,
                history_pb2.Event.FromString(first[0]).run_started,
                sent.commit.events[-1].run_continued,
                self._stores.clock.now_ms(),
            )
        # Without a history there is no such run, and the store says so.
        self._send_commit(session, sent)

    def _send_commit(self, session: WorkerSession, sent: _Sent) -> None:
        commit = sent.commit
        keep_logs(self._stores, sent.token, commit.logs)
        future = self._stores.runs.commit(
            token=sent.token,
            incarnation=session.incarnation,
            number=commit.number,
            events=[event.SerializeToString() for event in commit.events],
            effects=sent.effects,
            drain=commit.drain,
            idle=commit.idle,
            stall=commit.stall.SerializeToString() if sent.stalls else None,
            namespace=session.namespace,
        )
        self._hub.when_done(
            future, partial(self._committed, session, sent), partial(self._not_committed, session, commit)
        )

    def _not_committed(self, session: WorkerSession, commit: worker_pb2.Commit, error: StoreError) -> None:
        """What the store will never take is told; what it could not take now is sent again after a resume."""
        if isinstance(error, StoreScriptError):
            self._invalid(session, commit, str(error))
        else:
            session.end()

    def _invalid(self, session: WorkerSession, commit: worker_pb2.Commit, reason: str) -> None:
        result = worker_pb2.CommitResult(lease=commit.lease, number=commit.number)
        result.error.CopyFrom(status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_COMMIT", reason))
        session.send(Message(commit_result=result))

    def _committed(self, session: WorkerSession, sent: _Sent, answer: Committed | Fenced | Gap) -> None:
        tally_commit(session.namespace, sent.effects, len(sent.commit.events), answer, stalls=sent.stalls)
        message = Message()
        # Written in place: a message given to another is copied whole.
        result = message.commit_result
        result.lease.CopyFrom(sent.commit.lease)
        result.number = sent.commit.number
        if not isinstance(answer, Committed) or answer.released or answer.closed or sent.stalls:
            session.holdings.ended(sent.token)
        if isinstance(answer, Committed):
            result.length = answer.length
            result.mail_waits = answer.mail_waits
            result.released = answer.released
            if answer.drained:
                result.drained.extend(history_pb2.Event.FromString(event) for event in answer.drained)
            self._after_commit(session, sent, answer)
        elif isinstance(answer, Fenced):
            reason = f"the lease of run {sent.token.run_id} is over"
            result.error.CopyFrom(status(grpc.StatusCode.ABORTED, "FENCED", reason))
        else:
            reason = f"commit {answer.last_number + 1} of run {sent.token.run_id} is missing"
            result.error.CopyFrom(status(grpc.StatusCode.ABORTED, "GAP", reason))
        session.send(message)

    def _after_commit(self, session: WorkerSession, sent: _Sent, answer: Committed) -> None:
        hub, run_id = self._hub, sent.token.run_id
        for task in sent.effects.dispatches:
            hub.attend(
                TaskAttention(
                    run_id, task.address, session.namespace, task.queue, task.handler, task.placement
                )
            )
        for held in answer.cancelled_leases:
            hub.cancel(held)
        hub.waiters.grew(run_id)
        if answer.outbox_moved:
            hub.outbox_changed(run_id)
        if answer.closed or sent.stalls or sent.effects.fields:
            for coordinator_id in {*answer.waiters, hub.coordinator_id}:
                hub.tell(coordinator_id, f"ended {run_id}")
        if answer.closed or sent.stalls:
            hub.matching.forget_near(run_id, session)
            self._attend_next(session, sent)
        elif answer.released:
            hub.matching.keep_near(
                run_id, session, CacheMark(sent.token.epoch, sent.token.nonce, answer.length)
            )
        if sent.effects.timers:
            hub.timers_changed(ids.partition_of_run(run_id))

    def _attend_next(self, session: WorkerSession, sent: _Sent) -> None:
        next_run = sent.effects.next_run
        if next_run is None:
            return
        if next_run.begins_ms:
            self._hub.timers_changed(ids.partition_of_run(next_run.run_id))
            return
        started = history_pb2.Event.FromString(next_run.mail[0]).run_started
        RUNS_STARTED.add((session.namespace, started.workflow))
        handler = ids.workflow_handler(started.workflow, started.version)
        self._hub.attend(
            Attention(
                *(next_run.run_id, session.namespace, started.queue, handler, None, ""),
                stalled=False,
                fresh=True,
                placement=placement_from_wire(started.placement),
            )
        )

    def _release(self, session: WorkerSession, release: worker_pb2.Release) -> None:
        """Told when the store has it; what it could not take now is said again after a resume."""
        token = lease_from_wire(release.lease)
        RELEASES.add(("task" if token.address else "run",))
        session.holdings.ended(token)
        store = self._stores.tasks if token.address else self._stores.runs
        future = store.release(token=token, incarnation=session.incarnation)
        self._hub.stealing.released(session, token, future)
        result = Message(release_result=worker_pb2.ReleaseResult(lease=release.lease))
        self._hub.when_done(future, lambda _: session.send(result), lambda _: session.end())

    def _history(self, session: WorkerSession, need: worker_pb2.NeedHistory) -> None:
        """Only the holder makes a history longer, and it asks before it commits: the end is its grant's."""
        future = self._stores.runs.history(
            run_id=need.lease.run_id, first=need.first_index, count=HISTORY_PAGE_EVENTS
        )
        self._hub.when_done(future, partial(self._page, session, need))

    def _page(self, session: WorkerSession, need: worker_pb2.NeedHistory, events: list[bytes]) -> None:
        page = worker_pb2.HistoryPage(
            lease=need.lease,
            first_index=need.first_index,
            events=[history_pb2.Event.FromString(event) for event in events],
        )
        if not events:
            message = f"run {need.lease.run_id} has no event {need.first_index}: the lease is over"
            page.error.CopyFrom(status(grpc.StatusCode.ABORTED, "FENCED", message))
        session.send(Message(history_page=page))
