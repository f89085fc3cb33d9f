"""Questions about runs whose workers are connected to another coordinator: asked there, answered here.

A question is a letter in the store and a message in the other's stream. Both may be lost: whoever asks gives up in time.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import structlog

from aiki.v1 import admin_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.store.errors import StoreError

if TYPE_CHECKING:
    from aiki_server.core.runs import RunRecord
    from aiki_server.rpc.hub import Hub

ANSWER_SECONDS: Final = 12.0
LOOK_SECONDS: Final = 1.0
"""How long what others told of themselves is believed."""
WAITING_MAX: Final = 1000
FORWARDED: Final = frozenset({"ask", "answered"})
ANSWER, REFUSAL = b"+", b"-"
log = structlog.get_logger(__name__)


class NobodyAnswersError(Exception):
    """No worker serves the run, or none has answered in time."""


class Forwarding:
    """Asks other coordinators, and answers them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._letters = hub.stores.letters
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._waiting: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue(WAITING_MAX)
        self._others: list[admin_pb2.CoordinatorView] = []
        self._looked_at = -LOOK_SECONDS

    async def others(self) -> list[str]:
        """The other coordinators that have told of themselves."""
        return [view.coordinator_id for view in await self._known()]

    async def whom(self, record: RunRecord) -> str | None:
        """A coordinator with a session for the run: its holder's, otherwise any; None when there is none."""
        others = await self._known()
        holder = ids.coordinator_of(record.holder)
        handler = ids.workflow_handler(record.workflow, record.version)
        serving = [
            view.coordinator_id
            for view in others
            if any(
                work.sessions and work.namespace == record.namespace and work.handler == handler
                for work in view.held
            )
        ]
        if holder in serving:
            return holder
        return random.choice(serving) if serving else None

    async def ask(
        self, coordinator_id: str, namespace: str, question: worker_pb2.Query
    ) -> worker_pb2.QueryResult:
        """Ask there.

        Raises:
            NobodyAnswersError: as it says.
        """
        name = secrets.token_hex(8)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[name] = future
        try:
            await self._letters.send(
                coordinator_id=coordinator_id, name=name, letter=question.SerializeToString()
            )
            # Four words behind the first, as in every message that a coordinator may hear.
            self._hub.tell(coordinator_id, f"ask {self._hub.coordinator_id} {name} {quote(namespace)} .")
            async with asyncio.timeout(ANSWER_SECONDS):
                letter = await future
        except TimeoutError:
            # It may be gone: look anew before the next question.
            self._looked_at = -LOOK_SECONDS
            message = f"coordinator {coordinator_id} did not answer within {ANSWER_SECONDS:g} s"
            raise NobodyAnswersError(message) from None
        finally:
            del self._asked[name]
        if letter.startswith(REFUSAL):
            raise NobodyAnswersError(letter[1:].decode())
        return worker_pb2.QueryResult.FromString(letter[1:])

    def heard(self, kind: str, rest: str) -> None:
        """`ask COORDINATOR LETTER NAMESPACE .`, or `answered COORDINATOR LETTER . .`."""
        coordinator_id, name, namespace, _ = rest.split(" ", 3)
        if kind == "ask":
            if self._waiting.full():
                log.warning("too many questions of other coordinators wait: one is not answered")
                return
            self._waiting.put_nowait((coordinator_id, name, unquote(namespace)))
        elif name in self._asked:
            received = self._letters.receive(coordinator_id=self._hub.coordinator_id, name=f"answer:{name}")
            self._hub.when_done(received, lambda letter: self._received(name, letter))

    async def run(self) -> None:
        """Answer what others ask, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._answer(*await self._waiting.get()))

    def _received(self, name: str, letter: bytes | None) -> None:
        future = self._asked.get(name)
        if future is not None and letter is not None and not future.done():
            future.set_result(letter)

    async def _answer(self, asker: str, name: str, namespace: str) -> None:
        try:
            letter = await self._letters.receive(coordinator_id=self._hub.coordinator_id, name=name)
            if letter is None:
                return
            answer = await self._answer_to(worker_pb2.Query.FromString(letter), namespace)
            await self._letters.send(coordinator_id=asker, name=f"answer:{name}", letter=answer)
        except StoreError as error:
            log.warning("a question of another coordinator is not answered", reason=str(error))
            return
        self._hub.tell(asker, f"answered {self._hub.coordinator_id} {name} . .")

    async def _answer_to(self, question: worker_pb2.Query, namespace: str) -> bytes:
        record = await self._hub.stores.runs.get(namespace=namespace, run_id=question.run_id)
        if record is None:
            return REFUSAL + f"run {question.run_id} is gone".encode()
        try:
            result = await self._hub.questions.ask_here(
                record, question.input, query=question.query, update=question.update
            )
        except NobodyAnswersError as error:
            return REFUSAL + str(error).encode()
        return ANSWER + result.SerializeToString()

    async def _known(self) -> list[admin_pb2.CoordinatorView]:
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._others = await self._look()
        return self._others

    async def _look(self) -> list[admin_pb2.CoordinatorView]:
        stores = self._hub.stores
        now_ms = stores.clock.now_ms()
        known = await stores.sessions.coordinators()
        others = [
            name for name, until_ms in known.items() if until_ms > now_ms and name != self._hub.coordinator_id
        ]
        told = await asyncio.gather(*(stores.pictures.told(coordinator_id=name) for name in others))
        views = [admin_pb2.CoordinatorView.FromString(picture) for picture in told if picture is not None]
        return [view for view in views if not view.draining]
