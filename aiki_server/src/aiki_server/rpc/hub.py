"""Who is connected here, and who is told what: work is matched at once or hinted in its queue, holders are poked."""

from __future__ import annotations

import asyncio

from aiki.v1 import common_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.core.runs import (
    Attention,
    Begun,
    Fenced,
    Fired,
    HeldTask,
    NotFound,
    Released,
    TaskAttention,
    Terminated,
    WrongState,
)
from aiki_server.core.stealing import Rules
from aiki_server.rpc import abroad
from aiki_server.rpc.answers import when_done
from aiki_server.rpc.followers import FOLLOWING, Followers
from aiki_server.rpc.forwarding import FORWARDED
from aiki_server.rpc.hinting import Hinting
from aiki_server.rpc.matching import Matching
from aiki_server.rpc.once import fail_begun
from aiki_server.rpc.questions import Questions
from aiki_server.rpc.queues import Queues
from aiki_server.rpc.session import Session, lease_from_wire
from aiki_server.rpc.stealing import Stealing
from aiki_server.rpc.waiters import Waiters
from aiki_server.store import Stores
from aiki_server.telemetry.tracing import Traces


class Hub:
    """The sessions of this coordinator, and what wakes its loops."""

    def __init__(self, stores: Stores, coordinator_id: str, stealing: Rules | None = None) -> None:
        self.stores = stores
        self.coordinator_id = coordinator_id
        self.sessions: dict[str, Session] = {}
        self.draining = asyncio.Event()
        self.timers_moved = asyncio.Event()
        self.partitions_moved: set[int] = set()
        self.traces = Traces(coordinator_id)
        self.matching = Matching(stores, self.released)
        self.hinting = Hinting(stores, self.matching, self.attend)
        self.queues = Queues(self)
        self.waiters = Waiters()
        self.questions = Questions(self)
        self.followers = Followers(self)
        self.stealing = Stealing(self, stealing)
        self.outbox_moved = asyncio.Event()
        self.outboxes_moved: set[int] = set()

    def drain(self) -> None:
        """Take nobody new, ask the workers to go elsewhere, let nobody wait."""
        self.draining.set()
        self.hinting.close()
        for session in list(self.sessions.values()):
            session.draining = True
            session.send(worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain()))
        self.waiters.wake_all()
        self.matching.credit_came.set()

    def end_sessions(self) -> None:
        """There is no elsewhere: the workers wait for a coordinator to come."""
        for session in list(self.sessions.values()):
            session.end()

    def add(self, session: Session) -> None:
        """A session is connected."""
        self.sessions[session.incarnation] = session
        self.matching.add(session)
        self.questions.session_began()

    def remove(self, session: Session) -> None:
        """A session is not connected any more."""
        self.sessions.pop(session.incarnation, None)
        self.questions.session_ended(session)
        self.matching.remove(session)

    def attend(self, attention: Attention | TaskAttention | None) -> None:
        """See to it that somebody does this: poke its holder, grant it, or hint it."""
        if attention is None:
            return
        if isinstance(attention, TaskAttention):
            if self.matching.take_at_once(attention):
                return
        elif attention.stalled:
            return
        elif attention.holder is not None:
            self._poke(attention)
            return
        elif self.matching.grant_at_once(attention):
            return
        self.hinting.hint(attention)

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

    def cancel(self, held: HeldTask) -> None:
        """Tell the holder that its task is not wanted, wherever it is connected."""
        token = held.token
        words = f"cancel {held.incarnation} {token.run_id} {token.epoch} {token.nonce} {token.address}"
        self.tell(ids.coordinator_of(held.incarnation), words)
        # The lease is over already: this takes it off the holder's list.
        self.when_done(
            self.stores.tasks.release(token=token, incarnation=held.incarnation), self.attend_released
        )

    def released(self, future: asyncio.Future[Released | Fenced | Begun]) -> None:
        """Attend to what a release made free."""
        self.when_done(future, self.attend_released)

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
        if kind in FORWARDED:
            self.questions.forwarding.heard(kind, rest)
            return
        if kind in FOLLOWING:
            self.followers.heard(kind, rest)
            return
        if kind in abroad.WORDS:
            self.stealing.abroad.heard(kind, rest)
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
            session.load.gone((run_id, lease.address))
            session.holdings.ended(lease_from_wire(lease))
            cancel = worker_pb2.Cancel(lease=lease, reason="the run does not want it any more")
            session.send(worker_pb2.CoordinatorMessage(cancel=cancel))

    when_done = staticmethod(when_done)

    def attend_released(self, answer: Released | Fenced | Begun) -> None:
        """Attend to what a release made free, or could not."""
        if isinstance(answer, Released):
            self.attend(answer.attention)
        elif isinstance(answer, Begun):
            fail_begun(self, answer)

    def _poke(self, attention: Attention) -> None:
        assert attention.holder is not None
        self._poke_holder(HeldTask(attention.holder, attention.incarnation))

    def _poke_holder(self, held: HeldTask) -> None:
        token = held.token
        words = f"poke {held.incarnation} {token.run_id} {token.epoch} {token.nonce}"
        self.tell(ids.coordinator_of(held.incarnation), words)
