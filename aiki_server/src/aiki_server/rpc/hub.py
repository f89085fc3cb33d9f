"""Who is connected here, and how work finds them: sync match first, a hint in the queue otherwise.

Nothing here is truth: the store decides every grant. A match that comes to nothing costs a round trip.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.core.runs import (
    Attention,
    CacheMark,
    Fenced,
    Fired,
    Granted,
    HeldTask,
    NotFound,
    NotReady,
    Released,
    Taken,
    TaskAttention,
    Terminated,
    WrongState,
)
from aiki_server.rpc.questions import Questions
from aiki_server.rpc.session import Session, lease_to_wire
from aiki_server.rpc.tokens import completion_token
from aiki_server.rpc.waiters import Waiters
from aiki_server.store import Stores
from aiki_server.store.errors import StoreError
from aiki_server.telemetry.tracing import Traces

T = TypeVar("T")
log = structlog.get_logger(__name__)


def _nonce() -> str:
    return secrets.token_hex(6)


class Hub:
    """The sessions of this coordinator, and what wakes its loops."""

    def __init__(self, stores: Stores, coordinator_id: str) -> None:
        self.stores = stores
        self.coordinator_id = coordinator_id
        self.sessions: dict[str, Session] = {}
        self.draining = asyncio.Event()
        self.credit_came = asyncio.Event()
        self.timers_moved = asyncio.Event()
        self.partitions_moved: set[int] = set()
        self.traces = Traces(coordinator_id)
        self._sticky: dict[str, Session] = {}
        self.waiters = Waiters()
        self.questions = Questions(self)
        self.outbox_moved = asyncio.Event()
        self.outboxes_moved: set[int] = set()

    def drain(self) -> None:
        """Take nobody new, send the workers elsewhere, let nobody wait."""
        self.draining.set()
        for session in list(self.sessions.values()):
            session.draining = True
            session.send(worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain()))
            session.end()
        self.waiters.wake_all()

    def add(self, session: Session) -> None:
        """A session is connected."""
        self.sessions[session.incarnation] = session
        self.questions.session_began()

    def remove(self, session: Session) -> None:
        """A session is not connected any more."""
        self.sessions.pop(session.incarnation, None)
        self.questions.session_ended(session)
        self.credit_came.set()
        self._sticky = {run_id: other for run_id, other in self._sticky.items() if other is not session}

    def keep_near(self, run_id: str, session: Session, mark: CacheMark) -> None:
        """The session has the run in its cache, as it stood then."""
        self._sticky[run_id] = session
        given_up = session.remember(run_id, mark)
        if given_up is not None and self._sticky.get(given_up) is session:
            del self._sticky[given_up]

    def forget_near(self, run_id: str, session: Session) -> None:
        """The run is over: nobody needs it cached."""
        session.cached.pop(run_id, None)
        self._sticky.pop(run_id, None)

    def attend(self, attention: Attention | TaskAttention | None) -> None:
        """See to it that somebody does this: poke its holder, grant it, or hint it."""
        if attention is None:
            return
        if isinstance(attention, TaskAttention):
            session = self._pick(attention.namespace, attention.queue, attention.handler, tasks=True)
            if session is not None:
                self.take(session, attention.run_id, attention.address)
                return
        else:
            if attention.stalled:
                return
            if attention.holder is not None:
                self._poke(attention)
                return
            session = self.pick_for_run(attention)
            if session is not None:
                self.grant(session, attention.run_id)
                return
        self.when_done(self.stores.queues.hint(attention), lambda _: None)

    def timers_changed(self, partition: int) -> None:
        """A timer was set here: look at the partition before the next sweep."""
        self.partitions_moved.add(partition)
        self.timers_moved.set()

    def outbox_changed(self, run_id: str) -> None:
        """The run has something for others."""
        self.outboxes_moved.add(ids.partition_of_run(run_id))
        self.outbox_moved.set()

    def terminated(self, run_id: str, outcome: Terminated | WrongState | NotFound) -> None:
        """A run was ended from outside: tell who waits, its holder, and the holders of its tasks."""
        if not isinstance(outcome, Terminated):
            return
        for coordinator_id in {*outcome.waiters, self.coordinator_id}:
            self.tell(coordinator_id, f"ended {run_id}")
        for held in outcome.cancelled_leases:
            self.cancel(held)
        if outcome.ended is not None:
            # It is fenced at its next commit; a poke makes it commit now.
            self._poke_holder(outcome.ended)
        if outcome.outbox_moved:
            self.outbox_changed(run_id)

    def recall(self, attention: Attention) -> None:
        """Have the holder give the run back when what runs is recorded."""
        if attention.holder is not None:
            token = attention.holder
            words = f"recall {attention.incarnation} {token.run_id} {token.epoch} {token.nonce}"
            self.tell(ids.coordinator_of(attention.incarnation), words)

    def attend_fired(self, fired: Fired | None) -> None:
        """A timer fired."""
        if fired is not None:
            self.attend(fired.attention)
            if fired.cancelled is not None:
                self.cancel(fired.cancelled)

    def pick_for_run(self, attention: Attention) -> Session | None:
        """The session that has the run cached, if it has credit; otherwise the idlest that serves it."""
        return self.pick_for_hint(
            attention.run_id, attention.namespace, attention.queue, attention.handler, tasks=False
        )

    def pick_for_hint(
        self, run_id: str, namespace: str, queue: str, handler: str, *, tasks: bool
    ) -> Session | None:
        """The session that has the run cached, if it has credit; otherwise the idlest that serves it."""
        near = None if tasks else self._sticky.get(run_id)
        if near is not None and near.free_runs > 0:
            return near
        return self._pick(namespace, queue, handler, tasks=tasks)

    def pick(self, namespace: str, queue: str, handler: str) -> Session | None:
        """A session for a new run."""
        return self._pick(namespace, queue, handler, tasks=False)

    def grant(self, session: Session, run_id: str) -> None:
        """Ask the store for the run, and send it."""
        session.spend(runs=1)
        future = self.stores.runs.grant(
            run_id=run_id, incarnation=session.incarnation, nonce=_nonce(), cached=session.cached.get(run_id)
        )
        self.when_done(future, partial(self._granted, session), lambda _: self._give_back(session, runs=1))

    def take(self, session: Session, run_id: str, address: str) -> None:
        """Ask the store for a remote task, and send it."""
        session.spend(tasks=1)
        future = self.stores.tasks.take(
            run_id=run_id,
            address=address,
            incarnation=session.incarnation,
            nonce=_nonce(),
            worker=session.hello.identity,
        )
        self.when_done(future, partial(self._taken, session), lambda _: self._give_back(session, tasks=1))

    def cancel(self, held: HeldTask) -> None:
        """Tell the holder that its task is not wanted, wherever it is connected."""
        token = held.token
        words = f"cancel {held.incarnation} {token.run_id} {token.epoch} {token.nonce} {token.address}"
        self.tell(ids.coordinator_of(held.incarnation), words)
        # The lease is over already: this takes it off the holder's list.
        self.when_done(
            self.stores.tasks.release(token=token, incarnation=held.incarnation), self._attend_released
        )

    def released(self, future: asyncio.Future[Released | Fenced]) -> None:
        """Attend to what a release made free."""
        self.when_done(future, self._attend_released)

    def tell(self, coordinator_id: str, message: str) -> None:
        """Tell a coordinator something; itself at once."""
        if coordinator_id == self.coordinator_id:
            self.heard(message)
        else:
            self.when_done(
                self.stores.queues.publish(coordinator_id=coordinator_id, message=message.encode()),
                lambda _: None,
            )

    def heard(self, message: str) -> None:
        """`ended RUN`, `poke INCARNATION RUN EPOCH NONCE`, `recall …` alike, or `cancel …` with ADDRESS."""
        kind, rest = message.split(" ", 1)
        if kind == "ended":
            self.waiters.ended(rest)
            return
        incarnation, run_id, epoch, nonce, *address = rest.split(" ", 4)
        session = self.sessions.get(incarnation)
        if session is None:
            return
        lease = common_pb2.Lease(run_id=run_id, address="".join(address), epoch=int(epoch), nonce=nonce)
        if kind == "poke":
            session.send(worker_pb2.CoordinatorMessage(poke=worker_pb2.Poke(lease=lease)))
        elif kind == "recall":
            session.send(worker_pb2.CoordinatorMessage(recall=worker_pb2.Recall(lease=lease)))
        elif kind == "cancel":
            session.assigned.pop((run_id, lease.address), None)
            cancel = worker_pb2.Cancel(lease=lease, reason="the run does not want it any more")
            session.send(worker_pb2.CoordinatorMessage(cancel=cancel))

    def when_done(
        self,
        future: asyncio.Future[T],
        then: Callable[[T], None],
        failed: Callable[[StoreError], None] | None = None,
    ) -> None:
        """Call *then* with the answer, or *failed*; without that the sweep heals what the store refused."""

        def done(finished: asyncio.Future[T]) -> None:
            if finished.cancelled():
                return
            error = finished.exception()
            if error is None:
                then(finished.result())
                return
            log.warning("the store refused", reason=str(error))
            if failed is not None and isinstance(error, StoreError):
                failed(error)

        future.add_done_callback(done)

    def _attend_released(self, answer: Released | Fenced) -> None:
        if isinstance(answer, Released):
            self.attend(answer.attention)

    def _poke(self, attention: Attention) -> None:
        assert attention.holder is not None
        self._poke_holder(HeldTask(attention.holder, attention.incarnation))

    def _poke_holder(self, held: HeldTask) -> None:
        token = held.token
        words = f"poke {held.incarnation} {token.run_id} {token.epoch} {token.nonce}"
        self.tell(ids.coordinator_of(held.incarnation), words)

    def _pick(self, namespace: str, queue: str, handler: str, *, tasks: bool) -> Session | None:
        best: Session | None = None
        most = 0
        for session in self.sessions.values():
            free = session.free_tasks if tasks else session.free_runs
            if free > most and session.serves(namespace, queue, handler):
                best, most = session, free
        return best

    def _give_back(self, session: Session, *, runs: int = 0, tasks: int = 0) -> None:
        """Credit that came to nothing."""
        session.spend(runs=-runs, tasks=-tasks)
        self.credit_came.set()

    def _granted(self, session: Session, answer: Granted | NotReady) -> None:
        if isinstance(answer, NotReady):
            self._give_back(session, runs=1)
            return
        if session.closed:
            self.released(self.stores.runs.release(token=answer.token, incarnation=session.incarnation))
            return
        record = answer.record
        lease = lease_to_wire(answer.token)
        grant = worker_pb2.RunGrant(
            lease=lease,
            workflow_id=record.workflow_id,
            workflow=record.workflow,
            version=record.version,
            queue=record.queue,
            length=answer.length,
            first_index=answer.first_index,
            events=[history_pb2.Event.FromString(event) for event in answer.events],
        )
        session.send(worker_pb2.CoordinatorMessage(run_grant=grant))
        if answer.mail_waits:
            session.send(worker_pb2.CoordinatorMessage(poke=worker_pb2.Poke(lease=lease)))

    def _taken(self, session: Session, answer: Taken | NotReady) -> None:
        if isinstance(answer, NotReady):
            self._give_back(session, tasks=1)
            return
        if session.closed:
            self.released(self.stores.tasks.release(token=answer.token, incarnation=session.incarnation))
            return
        spec = history_pb2.TaskSpec.FromString(answer.spec)
        if answer.checkpoint:
            spec.checkpoint.CopyFrom(common_pb2.Payload.FromString(answer.checkpoint))
        session.assigned[answer.token.run_id, answer.token.address] = (spec, answer.attempt)
        assignment = worker_pb2.TaskAssignment(
            lease=lease_to_wire(answer.token),
            spec=spec,
            attempt=answer.attempt,
            completion_token=completion_token(answer.token),
        )
        session.send(worker_pb2.CoordinatorMessage(task_assignment=assignment))
