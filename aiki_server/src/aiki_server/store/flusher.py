"""Batches calls: whatever has gathered goes as one pipeline while the last one is in flight.

Alone, a call goes at once; under load batches grow by themselves. Invariants: a call is sent again until it
is answered, so only idempotent scripts and harmless commands come here; nobody but this object touches the
socket, so cancelling a caller cannot break the protocol; calls keep their order over a reconnect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import hiredis
import structlog

from aiki_server.store import measure
from aiki_server.store.connection import Address, Argument, Connection, connect, handshake, pack
from aiki_server.store.errors import (
    StoreError,
    StoreUnavailableError,
    StoreUnsafeError,
    Verdict,
    error_of,
    verdict_of,
)
from aiki_server.telemetry.metrics import STORE_BATCH, STORE_RECONNECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiki_server.store.connection import Reply

T = TypeVar("T")

CALLS_IN_FLIGHT_MAX: Final = 1_000
CALLS_WAITING_MAX: Final = 200_000
RETRY_SECONDS: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 2.0
STUCK_SECONDS: Final = 20.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Again(Generic[T]):
    """A decoder's answer: the call goes on with another command, for the same future."""

    command: tuple[Argument, ...]
    decode: Callable[[Reply], T | Again[T]]


class Call:
    """A command on its way. Its future may be cancelled by its caller at any time.

    That the future takes what the decoder gives is checked by the signature of `Flusher.submit`.
    """

    __slots__ = ("allowed", "asked_at", "decode", "future", "name", "packed")

    def __init__(
        self,
        packed: bytes,
        decode: Callable[[Reply], object],
        future: asyncio.Future[Any],
        allowed: str = "",
        name: str = "setup",
    ) -> None:
        self.allowed = allowed
        self.asked_at = perf_counter()
        self.name = name
        self.packed = packed
        self.decode = decode
        self.future = future


class Flusher:
    """`run()` owns the connection for as long as it runs; `submit` may be called at any time."""

    def __init__(self, address: Address, scripts: Iterable[str]) -> None:
        self.address = address
        self.problem: StoreError | None = StoreUnavailableError("not connected to the store yet")
        self.connected = asyncio.Event()
        self.settled = asyncio.Event()  # connected once, or refused
        self._setup = [*handshake(address), *(("SCRIPT", "LOAD", text) for text in scripts)]
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._waiting: deque[Call] = deque()
        self._flying: deque[Call] = deque()
        self._again: list[Call] = []
        self._reload = False
        self._sending = False
        self._paused = False
        self._replies = 0
        self._closed = False

    def submit(
        self,
        command: tuple[Argument, ...],
        decode: Callable[[Reply], T | Again[T]],
        *,
        allowed: str = "",
    ) -> asyncio.Future[T]:
        """Send a command; its reply, decoded, becomes the future's result.

        An error reply that begins with *allowed* is a reply like any other: the decoder gets None.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed or len(self._waiting) >= CALLS_WAITING_MAX:
            reason = "the store was closed" if self._closed else "too many calls wait for the store"
            future.set_exception(StoreUnavailableError(reason))
            return future
        self._waiting.append(Call(pack(command), decode, future, allowed, measure.name_of(command)))
        self._wake()
        return future

    def answer(self, value: T) -> asyncio.Future[T]:
        """A future that is done: nothing need be asked."""
        future: asyncio.Future[T] = self._loop.create_future()
        future.set_result(value)
        return future

    async def run(self) -> None:
        """Keep a connection until cancelled; what waits then fails with StoreUnavailableError."""
        try:
            while True:
                connection = await self._connect()
                self._connection = connection
                self.problem = None
                self.connected.set()
                self.settled.set()
                self._wake()
                await self._watch(connection)
                self._lost()
        finally:
            self._closed = True
            if self._connection is not None:
                self._connection.abort()
            self._lost()
            self._fail_all(StoreUnavailableError("the connection to the store was closed"))

    async def _watch(self, connection: Connection) -> None:
        """Until the connection is lost, or answers nothing for STUCK_SECONDS."""
        while not connection.closed.done():
            replies = self._replies
            await asyncio.wait({connection.closed}, timeout=STUCK_SECONDS)
            if self._flying and self._replies == replies:
                connection.abort()

    async def _connect(self) -> Connection:
        delay = 0.01
        while True:
            try:
                return await self._open()
            except StoreUnsafeError as error:
                self._problem(error)
                self.settled.set()
                self._fail_all(error)
            except StoreError as error:
                self._problem(error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, BACKOFF_SECONDS_MAX)

    def _problem(self, error: StoreError) -> None:
        if self.problem is None or str(self.problem) != str(error):
            log.warning("store unavailable", store=str(self.address), reason=str(error))
        self.problem = error

    async def _open(self) -> Connection:
        """A connection on which the scripts are loaded.

        Raises:
            StoreError: not reachable, refused, or still loading its data.
        """
        replies: list[Reply] = []
        complete: asyncio.Future[None] = self._loop.create_future()

        def on_setup(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) == len(self._setup) and not complete.done():
                complete.set_result(None)

        target: list[Callable[[Reply], None]] = [on_setup]
        # The lambda looks the target up for each reply: it changes once the setup is done.
        connection = await connect(self.address, lambda: Connection(lambda reply: target[0](reply)))  # noqa: PLW0108  as said
        connection.send(b"".join(pack(command) for command in self._setup))
        try:
            await asyncio.wait(
                {complete, connection.closed}, timeout=STUCK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not complete.done():
                raise StoreUnavailableError(f"the store at {self.address} does not answer")
            for reply in replies:
                if isinstance(reply, hiredis.ReplyError):
                    raise error_of(str(reply))
        except BaseException:
            connection.abort()
            raise
        target[0] = self._replied
        return connection

    def _wake(self) -> None:
        if not self._sending:
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send what has gathered, unless something is in flight: its last reply comes back here."""
        self._sending = False
        connection = self._connection
        if connection is None or self._flying or self._paused:
            return
        pieces: list[bytes] = []
        if self._reload:
            self._reload = False
            for command in self._setup:
                self._flying.append(Call(pack(command), _ignore, self._loop.create_future()))
                pieces.append(self._flying[-1].packed)
        while self._waiting and len(pieces) < CALLS_IN_FLIGHT_MAX:
            call = self._waiting.popleft()
            if not call.future.cancelled():
                self._flying.append(call)
                pieces.append(call.packed)
        if pieces:
            STORE_BATCH.record(len(pieces))
            connection.send(b"".join(pieces))

    def _replied(self, reply: Reply) -> None:
        self._replies += 1
        call = self._flying.popleft()
        if isinstance(reply, hiredis.ReplyError):
            measure.refused(str(reply))
            self._refused(call, str(reply))
        else:
            measure.answered(call.name, call.asked_at)
            self._decoded(call, reply)
        if not self._flying:
            self._landed()

    def _decoded(self, call: Call, reply: Reply) -> None:
        future = call.future
        if future.cancelled():
            return
        try:
            result = call.decode(reply)
        except Exception as error:  # noqa: BLE001  whatever a decoder raises is its caller's to see
            future.set_exception(error)
            return
        if type(result) is Again:
            self._waiting.append(
                Call(pack(result.command), result.decode, future, name=measure.name_of(result.command))
            )
        else:
            future.set_result(result)

    def _refused(self, call: Call, message: str) -> None:
        if call.allowed and message.startswith(call.allowed):
            self._decoded(call, None)
            return
        verdict = verdict_of(message)
        if verdict is Verdict.FAIL:
            if not call.future.done():
                call.future.set_exception(error_of(message))
            return
        if verdict is Verdict.RELOAD:
            self._reload = True
        elif verdict is Verdict.RETRY:
            self._pause()
        elif self._connection is not None:
            self._pause()
            self._connection.abort()
        self._again.append(call)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._loop.call_later(RETRY_SECONDS, self._resume)

    def _resume(self) -> None:
        self._paused = False
        self._wake()

    def _landed(self) -> None:
        """All of a flight was answered: what was refused for now goes first in the next one."""
        if self._again:
            self._waiting.extendleft(reversed(self._again))
            self._again.clear()
        if self._waiting or self._reload:
            self._wake()

    def _lost(self) -> None:
        STORE_RECONNECTS.add()
        self._connection = None
        self.connected.clear()
        self._again.extend(self._flying)
        self._flying.clear()
        self._waiting.extendleft(reversed(self._again))
        self._again.clear()

    def _fail_all(self, error: StoreError) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(error)


def _ignore(_: Reply) -> None:
    """The setup's replies tell nothing."""
