"""Questions that workers answer about runs: queries, and whether an update would be accepted."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.core.runs import RunRecord
from aiki_server.rpc.forwarding import Forwarding, NobodyAnswersError
from aiki_server.rpc.lookups import set_within

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub
    from aiki_server.rpc.session import Session

ANSWER_SECONDS: Final = 10.0
SERVED_SECONDS: Final = 5.0
"""How long a question waits for a worker to connect: a deploy, or a start, is usually over by then."""
LOOK_SECONDS: Final = 0.5
"""How often is looked, while it waits, whether another coordinator has one."""
HISTORY_PAGE: Final = 1000
__all__ = ["NobodyAnswersError", "Questions"]


class _SessionEndedError(Exception):
    """Whoever was asked is gone. Never leaves this module."""


class Questions:
    """Asks the worker that has the run, otherwise any that serves it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._asked: dict[str, tuple[Session, asyncio.Future[worker_pb2.QueryResult]]] = {}
        self._connected = asyncio.Event()
        self.forwarding = Forwarding(hub)

    async def ask(
        self, record: RunRecord, input_: common_pb2.Payload, *, query: str = "", update: str = ""
    ) -> worker_pb2.QueryResult:
        """Ask one of the two, by name: a worker here if there is one, otherwise one of another coordinator.

        Raises:
            NobodyAnswersError: as it says.
            StoreError: the store cannot be asked who else there is.
        """
        for _ in range(2):
            whom = await self._serving(record)
            try:
                if isinstance(whom, str):
                    question = _question(record, input_, query, update)
                    return await self.forwarding.ask(whom, record.namespace, question)
                return await self._ask_in_time(whom, record, input_, query, update)
            except _SessionEndedError:
                continue
        raise NobodyAnswersError("the workers that were asked went away")

    async def ask_here(
        self, record: RunRecord, input_: common_pb2.Payload, *, query: str = "", update: str = ""
    ) -> worker_pb2.QueryResult:
        """Like `ask`, of a worker that is connected here now.

        Raises:
            NobodyAnswersError: as it says.
        """
        for _ in range(2):
            session = self._pick(record)
            if session is None:
                raise NobodyAnswersError(_nobody(record))
            try:
                return await self._ask_in_time(session, record, input_, query, update)
            except _SessionEndedError:
                continue
        raise NobodyAnswersError("the workers that were asked went away")

    def answered(self, result: worker_pb2.QueryResult) -> None:
        """A worker has answered; too late does no harm."""
        asked = self._asked.get(result.query_id)
        if asked is not None and not asked[1].done():
            asked[1].set_result(result)

    def session_began(self) -> None:
        """Somebody new may serve what is asked."""
        self._connected.set()
        self._connected = asyncio.Event()

    def session_ended(self, session: Session) -> None:
        """Whoever waits for this worker asks another."""
        for asked, future in self._asked.values():
            if asked is session and not future.done():
                future.set_exception(_SessionEndedError())

    async def _ask_in_time(
        self,
        session: Session,
        record: RunRecord,
        input_: common_pb2.Payload,
        query: str,
        update: str,
    ) -> worker_pb2.QueryResult:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._ask(session, record, input_, query, update)
        except TimeoutError:
            message = f"worker {session.hello.identity} did not answer within {ANSWER_SECONDS:g} s"
            raise NobodyAnswersError(message) from None

    async def _ask(
        self,
        session: Session,
        record: RunRecord,
        input_: common_pb2.Payload,
        query: str,
        update: str,
    ) -> worker_pb2.QueryResult:
        has_it = session.incarnation == record.holder or record.run_id in session.cached
        events = (
            []
            if has_it
            else await self._hub.stores.runs.history(run_id=record.run_id, first=0, count=HISTORY_PAGE)
        )
        message = _question(record, input_, query, update)
        message.events.extend(history_pb2.Event.FromString(event) for event in events)
        future: asyncio.Future[worker_pb2.QueryResult] = asyncio.get_running_loop().create_future()
        self._asked[message.query_id] = session, future
        try:
            session.send(worker_pb2.CoordinatorMessage(query=message))
            return await future
        finally:
            del self._asked[message.query_id]

    async def _serving(self, record: RunRecord) -> Session | str:
        """Somebody to ask, who may still have to connect: a session here, or a coordinator that has one."""
        try:
            async with asyncio.timeout(SERVED_SECONDS):
                while True:
                    connected = self._connected
                    whom = self._pick(record) or await self.forwarding.whom(record)
                    if whom is not None:
                        return whom
                    await set_within(connected, LOOK_SECONDS)
        except TimeoutError:
            raise NobodyAnswersError(_nobody(record)) from None

    def _pick(self, record: RunRecord) -> Session | None:
        """The holder, then who has it cached, then anybody who serves it, also in other queues."""
        handler = ids.workflow_handler(record.workflow, record.version)
        holder = self._hub.sessions.get(record.holder)
        if holder is not None and not holder.closed:
            return holder
        serving = [
            session
            for session in self._hub.sessions.values()
            if not session.closed and session.namespace == record.namespace and handler in session.handlers
        ]
        near = (session for session in serving if record.run_id in session.cached)
        return next(near, serving[0] if serving else None)


def _question(record: RunRecord, input_: common_pb2.Payload, query: str, update: str) -> worker_pb2.Query:
    """Without the history."""
    question = worker_pb2.Query(
        query_id=secrets.token_hex(8),
        run_id=record.run_id,
        workflow_id=record.workflow_id,
        workflow=record.workflow,
        version=record.version,
        queue=record.queue,
        length=record.length,
        input=input_,
    )
    if update:
        question.update = update
    else:
        question.query = query
    return question


def _nobody(record: RunRecord) -> str:
    return f"no worker that is connected serves {record.workflow} v{record.version}"
