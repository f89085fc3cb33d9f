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
from aiki_server.core import ids
from aiki_server.core.runs import Begun, Fenced, Granted, NotReady, Released, RunsAlone, Taken, TaskAttention
from aiki_server.core.stealing import Kind
from aiki_server.rpc.answers import when_done
from aiki_server.rpc.holdings import Work
from aiki_server.rpc.session import Session, lease_to_wire
from aiki_server.rpc.tokens import completion_token
from aiki_server.store import Stores
from aiki_server.telemetry.metrics import GRANTS, GRANTS_WASTED


def _nonce() -> str:
    return secrets.token_hex(6)


class Grants:
    """What becomes of work that is free for somebody.

    `credit_came` is told when credit is given back; `released` gets the answers of what is handed back, `run_alone` what
    the store refused to a session that has other work.
    """

    def __init__(
        self,
        stores: Stores,
        credit_came: asyncio.Event,
        released: Callable[[asyncio.Future[Released | Fenced | Begun]], None],
        run_alone: Callable[[TaskAttention], None],
    ) -> None:
        self._run_alone = run_alone
        self._stores = stores
        self._credit_came = credit_came
        self._released = released

    def grant(self, session: Session, run_id: str) -> None:
        """Ask the store for the run, and send it."""
        session.spend(runs=1)
        session.holdings.ask()
        future = self._stores.runs.grant(
            run_id=run_id,
            incarnation=session.incarnation,
            nonce=_nonce(),
            cached=session.cached.get(run_id),
            runtime=session.hello.runtime,
        )
        when_done(future, partial(self._granted, session), lambda _: self._give_back(session, runs=1))

    def take(self, session: Session, run_id: str, address: str, *, alone: bool = False) -> None:
        """Ask the store for a remote task, and send it. `alone`: the session is reserved for it."""
        session.spend(tasks=1)
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
            partial(self._taken, session, run_id, address),
            lambda _: self._give_back(session, tasks=1),
        )

    def _give_back(self, session: Session, *, runs: int = 0, tasks: int = 0) -> None:
        """Credit that came to nothing."""
        session.spend(runs=-runs, tasks=-tasks)
        session.holdings.answered()
        self._credit_came.set()

    def _granted(self, session: Session, answer: Granted | NotReady) -> None:
        if isinstance(answer, NotReady):
            GRANTS_WASTED.add(("run",))
            self._give_back(session, runs=1)
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
            events=[history_pb2.Event.FromString(event) for event in answer.events],
        )
        session.send(worker_pb2.CoordinatorMessage(run_grant=grant))
        handler = ids.workflow_handler(record.workflow, record.version)
        session.load.given(answer.token, Kind(record.namespace, record.queue, handler))
        session.holdings.given(answer.token, Work(record.queue, handler))
        session.holdings.answered()
        if answer.mail_waits:
            session.send(worker_pb2.CoordinatorMessage(poke=worker_pb2.Poke(lease=lease)))

    def _taken(
        self, session: Session, run_id: str, address: str, answer: Taken | NotReady | RunsAlone
    ) -> None:
        if not isinstance(answer, Taken):
            GRANTS_WASTED.add(("task",))
            self._give_back(session, tasks=1)
            if isinstance(answer, RunsAlone):
                about = TaskAttention(run_id, address, session.namespace, answer.queue, answer.handler)
                self._run_alone(about)
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
        session.load.given(answer.token, Kind(session.namespace, spec.queue, ids.task_handler(spec.task)))
        session.holdings.given(answer.token, Work(spec.queue, ids.task_handler(spec.task)))
        session.holdings.answered()
