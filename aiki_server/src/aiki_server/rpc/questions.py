"""Questions that workers answer about runs: queries, and whether an update would be accepted."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.core.runs import RunRecord

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub
    from aiki_server.rpc.session import Session

ANSWER_SECONDS: Final = 10.0
SERVED_SECONDS: Final = 5.0
"""How long a question waits for a worker to connect: a deploy, or a start, is usually over by then."""
HISTORY_PAGE: Final = 1000


class NobodyAnswersError(Exception):
    """No worker here serves the run, or none has answered in time."""


class _SessionEndedError(Exception):
    """Whoever was asked is gone. Never leaves this module."""


class Questions:
    """Asks the worker that has the run, otherwise any that serves it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._asked: dict[str, tuple[Session, asyncio.Future[worker_pb2.QueryResult]]] = {}
        self._connected = asyncio.Event()

    async def ask(
        self, record: RunRecord, input_: common_pb2.Payload, *, query: str = "", update: str = ""
    ) -> worker_pb2.QueryResult:
        """Ask one of the two, by name.

        Raises:
            NobodyAnswersError: as it says.
        """
        for _ in range(2):
            session = await self._serving(record)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._ask(session, record, input_, query, update)
            except TimeoutError:
                message = f"worker {session.hello.identity} did not answer within {ANSWER_SECONDS:g} s"
                raise NobodyAnswersError(message) from None
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
        message = worker_pb2.Query(
            query_id=secrets.token_hex(8),
            run_id=record.run_id,
            workflow_id=record.workflow_id,
            workflow=record.workflow,
            version=record.version,
            queue=record.queue,
            length=record.length,
            events=[history_pb2.Event.FromString(event) for event in events],
            input=input_,
        )
        if update:
            message.update = update
        else:
            message.query = query
        future: asyncio.Future[worker_pb2.QueryResult] = asyncio.get_running_loop().create_future()
        self._asked[message.query_id] = session, future
        try:
            session.send(worker_pb2.CoordinatorMessage(query=message))
            return await future
        finally:
            del self._asked[message.query_id]

    async def _serving(self, record: RunRecord) -> Session:
        """Somebody to ask, who may still have to connect."""
        try:
            async with asyncio.timeout(SERVED_SECONDS):
                while (session := self._pick(record)) is None:
                    await self._connected.wait()
                return session
        except TimeoutError:
            message = f"no worker connected here serves {record.workflow} v{record.version}"
            raise NobodyAnswersError(message) from None

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
