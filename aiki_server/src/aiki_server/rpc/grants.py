"""Asks the store for work on behalf of a session, and sends what it got.

Credit is spent when the store is asked and given back when there was nothing. An answer that comes after its
session has gone is handed back at once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.core.matching import Lane
from aiki_server.core.placement import Placement
from aiki_server.core.runs import Begun, Fenced, Granted, NotReady, Released, RunsAlone, Taken, TaskAttention
from aiki_server.rpc.answers import when_done
from aiki_server.rpc.session import Session, lease_to_wire
from aiki_server.rpc.tokens import completion_token
from aiki_server.store import Stores
from aiki_server.telemetry.metrics import GRANTS, GRANTS_WASTED


def _nonce() -> str:
    return secrets.token_hex(6)


class Grants:
    """What becomes of work that is free for somebody.

    `credit_given` is told when credit is given back; `released` gets the answers of what is handed back, `run_alone` what
    the store refused to a session that has other work.
    """

    def __init__(
        self,
        stores: Stores,
        credit_given: Callable[[Session], None],
        released: Callable[[asyncio.Future[Released | Fenced | Begun]], None],
        run_alone: Callable[[TaskAttention], None],
    ) -> None:
        self._run_alone = run_alone
        self._stores = stores
        self._credit_given = credit_given
        self._released = released

    def grant(self, session: Session, lane: Lane, run_id: str) -> None:
        """Ask the store for the run, and send it."""
        session.credit.spend(runs=1)
        session.holdings.ask()
        future = self._stores.runs.grant(
            run_id=run_id,
            incarnation=session.incarnation,
            nonce=_nonce(),
            cached=session.cached.get(run_id),
            runtime=session.hello.runtime,
        )
        when_done(future, partial(self._granted, session, lane), lambda _: self._give_back(session, lane))

    def take(self, session: Session, lane: Lane, run_id: str, address: str, *, alone: bool = False) -> None:
        """Ask the store for a remote task, and send it. `alone`: the session is reserved for it."""
        session.credit.spend(tasks=session.credit.cost(lane), queue=lane.queue)
        session.holdings.ask()
        future = self._stores.tasks.take(
            run_id=run_id,
            address=address,
            incarnation=session.incarnation,
            nonce=_nonce(),
            worker=session.hello.identity,
            alone=alone,
        )
        when_done(
            future,
            partial(self._taken, session, lane, run_id, address),
            lambda _: self._give_back(session, lane),
        )

    def _give_back(self, session: Session, lane: Lane) -> None:
        """Credit that came to nothing."""
        if lane.is_of_tasks:
            session.credit.spend(tasks=-session.credit.cost(lane), queue=lane.queue)
        else:
            session.credit.spend(runs=-1)
        session.holdings.answered()
        self._credit_given(session)

    def _granted(self, session: Session, lane: Lane, answer: Granted | NotReady) -> None:
        if isinstance(answer, NotReady):
            GRANTS_WASTED.add(("run",))
            self._give_back(session, lane)
            return
        GRANTS.add(("run",))
        if session.closed:
            session.holdings.answered()
            self._released(self._stores.runs.release(token=answer.token, incarnation=session.incarnation))
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
            lease_losses=answer.losses,
            priority=record.placement.priority,
            events=[history_pb2.Event.FromString(event) for event in answer.events],
        )
        session.send(worker_pb2.CoordinatorMessage(run_grant=grant))
        session.load.given(answer.token, lane)
        session.holdings.given(answer.token, lane)
        session.holdings.answered()
        if answer.mail_waits:
            session.send(worker_pb2.CoordinatorMessage(poke=worker_pb2.Poke(lease=lease)))

    def _taken(
        self, session: Session, lane: Lane, run_id: str, address: str, answer: Taken | NotReady | RunsAlone
    ) -> None:
        if not isinstance(answer, Taken):
            GRANTS_WASTED.add(("task",))
            self._give_back(session, lane)
            if isinstance(answer, RunsAlone):
                placement = Placement(priority=lane.priority, slots=lane.slots, labels=lane.labels)
                self._run_alone(
                    TaskAttention(run_id, address, lane.namespace, lane.queue, lane.handler, placement)
                )
            return
        GRANTS.add(("task",))
        if session.closed:
            session.holdings.answered()
            self._released(self._stores.tasks.release(token=answer.token, incarnation=session.incarnation))
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
        session.load.given(answer.token, lane)
        session.holdings.given(answer.token, lane)
        session.holdings.answered()
