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
    Fenced,
    Fired,
    Granted,
    HeldTask,
    NotReady,
    Released,
    Taken,
    TaskAttention,
)
from aiki_server.rpc.session import Session, lease_to_wire
from aiki_server.store import Stores

T = TypeVar("T")
log = structlog.get_logger(__name__)


def _nonce() -> str:
    return secrets.token_hex(6)


class Hub:
    """The sessions of this coordinator, and the waiters of runs."""

    def __init__(self, stores: Stores, coordinator_id: str) -> None:
        self.stores = stores
        self.coordinator_id = coordinator_id
        self.sessions: dict[str, Session] = {}
        self.draining = False
        self.credit_came = asyncio.Event()
        self.timers_moved = asyncio.Event()
        self.partitions_moved: set[int] = set()
        self._sticky: dict[str, Session] = {}
        self._waiters: dict[str, set[asyncio.Event]] = {}

    def add(self, session: Session) -> None:
        """A session is connected."""
        self.sessions[session.incarnation] = session

    def remove(self, session: Session) -> None:
        """A session is not connected any more."""
        self.sessions.pop(session.incarnation, None)
        self.credit_came.set()
        self._sticky = {run_id: other for run_id, other in self._sticky.items() if other is not session}

    def keep_near(self, run_id: str, session: Session) -> None:
        """The session has the run in its cache."""
        self._sticky[run_id] = session

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

    def grant(self, session: Session, run_id: str, then: Callable[[], None] | None = None) -> None:
        """Ask the store for the run, and send it."""
        session.spend(runs=1)
        future = self.stores.runs.grant(
            run_id=run_id, incarnation=session.incarnation, nonce=_nonce(), cached=session.cached.get(run_id)
        )
        self.when_done(future, partial(self._granted, session, then))

    def take(
        self, session: Session, run_id: str, address: str, then: Callable[[], None] | None = None
    ) -> None:
        """Ask the store for a remote task, and send it."""
        session.spend(tasks=1)
        future = self.stores.tasks.take(
            run_id=run_id,
            address=address,
            incarnation=session.incarnation,
            nonce=_nonce(),
            worker=session.hello.identity,
        )
        self.when_done(future, partial(self._taken, session, then))

    def cancel(self, held: HeldTask) -> None:
        """Tell the holder that its task is not wanted, wherever it is connected."""
        session = self.sessions.get(held.incarnation)
        if session is not None:
            cancel = worker_pb2.Cancel(
                lease=lease_to_wire(held.token), reason="the run does not want it any more"
            )
            session.send(worker_pb2.CoordinatorMessage(cancel=cancel))
            session.spend(tasks=-1)
        self.when_done(
            self.stores.tasks.release(token=held.token, incarnation=held.incarnation), self._attend_released
        )

    def released(self, future: asyncio.Future[Released | Fenced]) -> None:
        """Attend to what a release made free."""
        self.when_done(future, self._attend_released)

    def watch(self, run_id: str) -> asyncio.Event:
        """Set when the run may have closed or stalled."""
        event = asyncio.Event()
        self._waiters.setdefault(run_id, set()).add(event)
        return event

    def unwatch(self, run_id: str, event: asyncio.Event) -> None:
        """Not waiting any more."""
        waiters = self._waiters.get(run_id, set())
        waiters.discard(event)
        if not waiters:
            self._waiters.pop(run_id, None)

    def run_ended(self, run_id: str) -> None:
        """Wake who waits here."""
        for event in self._waiters.get(run_id, ()):
            event.set()

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
        """`ended RUN` or `poke INCARNATION RUN EPOCH NONCE`."""
        kind, *words = message.split(" ")
        if kind == "ended":
            self.run_ended(words[0])
        elif kind == "poke":
            incarnation, run_id, epoch, nonce = words
            session = self.sessions.get(incarnation)
            if session is not None:
                lease = common_pb2.Lease(run_id=run_id, epoch=int(epoch), nonce=nonce)
                session.send(worker_pb2.CoordinatorMessage(poke=worker_pb2.Poke(lease=lease)))

    def when_done(self, future: asyncio.Future[T], then: Callable[[T], None]) -> None:
        """Call *then* with the answer; an error of the store is logged, and the sweep heals."""

        def done(finished: asyncio.Future[T]) -> None:
            if finished.cancelled():
                return
            error = finished.exception()
            if error is None:
                then(finished.result())
            else:
                log.warning("the store refused", reason=str(error))

        future.add_done_callback(done)

    def _attend_released(self, answer: Released | Fenced) -> None:
        if isinstance(answer, Released):
            self.attend(answer.attention)

    def _poke(self, attention: Attention) -> None:
        holder = attention.holder
        assert holder is not None
        words = f"poke {attention.incarnation} {holder.run_id} {holder.epoch} {holder.nonce}"
        self.tell(ids.coordinator_of(attention.incarnation), words)

    def _pick(self, namespace: str, queue: str, handler: str, *, tasks: bool) -> Session | None:
        best: Session | None = None
        most = 0
        for session in self.sessions.values():
            free = session.free_tasks if tasks else session.free_runs
            if free > most and session.serves(namespace, queue, handler):
                best, most = session, free
        return best

    def _granted(self, session: Session, then: Callable[[], None] | None, answer: Granted | NotReady) -> None:
        if then is not None:
            then()
        if isinstance(answer, NotReady):
            session.spend(runs=-1)
            self.credit_came.set()
            return
        if session.closed:
            self.released(self.stores.runs.release(token=answer.token, incarnation=session.incarnation))
            return
        record = answer.record
        lease = lease_to_wire(answer.token)
        session.lengths[record.run_id] = answer.length
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

    def _taken(self, session: Session, then: Callable[[], None] | None, answer: Taken | NotReady) -> None:
        if then is not None:
            then()
        if isinstance(answer, NotReady):
            session.spend(tasks=-1)
            self.credit_came.set()
            return
        if session.closed:
            self.released(self.stores.tasks.release(token=answer.token, incarnation=session.incarnation))
            return
        spec = history_pb2.TaskSpec.FromString(answer.spec)
        session.assigned[answer.token.run_id, answer.token.address] = (spec, answer.attempt)
        assignment = worker_pb2.TaskAssignment(
            lease=lease_to_wire(answer.token), spec=spec, attempt=answer.attempt
        )
        session.send(worker_pb2.CoordinatorMessage(task_assignment=assignment))
