"""Batches calls: whatever has gathered goes as one pipeline while the last one is in flight.

Alone, a call goes at once; under load batches grow by themselves. Invariants: a call is sent again until it
is answered, so only idempotent scripts and harmless commands come here; nobody but this object touches the
socket, so cancelling a caller cannot break the protocol; calls keep their order over a reconnect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar, cast

import hiredis
import structlog

from aiki_server.store import measure
from aiki_server.store.calls import Again, Call
from aiki_server.store.connection import Connection, connect, handshake, pack
from aiki_server.store.errors import (
    StoreError,
    StoreUnavailableError,
    StoreUnsafeError,
    Verdict,
    error_of,
    verdict_of,
)
from aiki_server.store.fence import Fence, Standing
from aiki_server.store.slots import slot_of_command
from aiki_server.telemetry.metrics import STORE_BATCH, STORE_RECONNECTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiki_server.store.address import Address
    from aiki_server.store.calls import Elsewhere
    from aiki_server.store.connection import Argument, Reply
    from aiki_server.store.failovers import Failovers

T = TypeVar("T")

CALLS_IN_FLIGHT_MAX: Final = 1_000
CALLS_WAITING_MAX: Final = 200_000
RETRY_SECONDS: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 2.0
STUCK_SECONDS: Final = 20.0
OF_THE_NODE: Final = frozenset({"time", "info", "config"})
"""What tells of a node and nothing of its data waits for no replica."""

log = structlog.get_logger(__name__)


class Flusher:
    """`run()` owns the connection for as long as it runs; `submit` may be called at any time.

    `find` names the node before each connection: it is told of in `address`. `elsewhere` takes calls whose keys are
    on other nodes; `fence` has answers wait for replicas; `failovers` hears which past the node has.
    """

    def __init__(
        self,
        address: Address,
        scripts: Iterable[str],
        *,
        find: Callable[[], Awaitable[Address]] | None = None,
        elsewhere: Elsewhere | None = None,
        fence: Fence | None = None,
        failovers: Failovers | None = None,
    ) -> None:
        self.address = address
        self.fence = fence
        self._find = find
        self._elsewhere = elsewhere
        self._failovers = failovers
        self.problem: StoreError | None = StoreUnavailableError("not connected to the store yet")
        self.connected = asyncio.Event()
        self.settled = asyncio.Event()  # connected once, or refused
        self._setup: list[tuple[Argument, ...]] = [
            *handshake(address),
            *(("SCRIPT", "LOAD", text) for text in scripts),
            ("INFO", "replication"),
        ]
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
        self.enqueue(Call(pack(command), decode, future, allowed, measure.name_of(command)))
        return future

    def enqueue(self, call: Call) -> None:
        """Send a call that was made elsewhere."""
        if self._closed or len(self._waiting) >= CALLS_WAITING_MAX:
            reason = "the store was closed" if self._closed else "too many calls wait for the store"
            if not call.future.done():
                call.future.set_exception(StoreUnavailableError(reason))
            return
        self._waiting.append(call)
        self._wake()

    def evict(self) -> list[Call]:
        """Everything that is not answered, in order, to be sent elsewhere: the node is none of ours any more."""
        if self._connection is not None:
            self._connection.abort()
        self._lost()
        calls = [call for call in self._waiting if not call.future.done()]
        self._waiting.clear()
        return calls

    def disconnect(self) -> None:
        """Have `run` find the node again."""
        if self._connection is not None:
            self._connection.abort()

    @property
    def spans_nodes(self) -> bool:
        """It is one node's."""
        return False

    @property
    def primaries(self) -> list[Flusher]:
        """This one."""
        return [self]

    def slot_of(self, key: str) -> int:  # noqa: ARG002  one node has all keys
        """All keys can be read together."""
        return 0

    def node_of(self, key: str) -> Flusher:  # noqa: ARG002  one node has all keys
        """This one."""
        return self

    def look_again(self) -> None:
        """There is nowhere else to look."""

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
        if self._find is not None:
            self.address = await self._find()
        connection = await connect(self.address, lambda: Connection(lambda reply: target[0](reply)))  # noqa: PLW0108  as said
        connection.send(b"".join(pack(command) for command in self._setup))
        try:
            await asyncio.wait(
                {complete, connection.closed}, timeout=STUCK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for reply in replies:
                if isinstance(reply, hiredis.ReplyError):
                    raise error_of(str(reply))
            if not complete.done():
                raise connection.why_lost(self.address)
            self._introduced(replies[-1])
        except BaseException:
            connection.abort()
            raise
        target[0] = self._replied
        return connection

    def _introduced(self, info: bytes) -> None:
        """The node has said what it is."""
        facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        if facts.get("role", "master") != "master" and (self._find or self._elsewhere):
            raise StoreUnavailableError(f"the store at {self.address} is no primary (yet)")
        if self._failovers is not None and "master_replid" in facts:
            self._failovers.heard(facts["master_replid"])

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
        if self.fence is not None and (pieces or self.fence.held):
            pieces.append(self.fence.packed)
            self._flying.extend((_FENCE, _FENCE))
            self.fence.sent()
        if pieces:
            connection.send(b"".join(pieces))

    def _replied(self, reply: Reply) -> None:
        self._replies += 1
        call = self._flying.popleft()
        if self.fence is None:
            self._settle(call, reply)
        elif call is _FENCE:
            self._fenced(self.fence, reply)
        elif isinstance(reply, hiredis.ReplyError) or call.name in OF_THE_NODE:
            self._settle(call, reply)
        else:
            self.fence.held.append((call, reply))
        if not self._flying:
            self._landed()

    def _fenced(self, fence: Fence, reply: Reply) -> None:
        match fence.heard(reply):
            case Standing.WAITING:
                pass
            case Standing.REPLICATED:
                self.problem = None
                held = fence.held.copy()
                fence.held.clear()
                for call, answer in held:
                    self._settle(call, answer)
            case Standing.SHORT:
                self._problem(
                    StoreUnavailableError(
                        f"the store at {self.address} has {fence.found} of {fence.replicas} replicas in step: "
                        "nothing is acknowledged until they have it"
                    )
                )
                self._pause()
            case Standing.UNKNOWN:
                self._again = fence.lost() + self._again
                self._act_on(verdict_of(fence.refusal))

    def _settle(self, call: Call, reply: Reply) -> None:
        if isinstance(reply, hiredis.ReplyError):
            measure.refused(str(reply))
            self._refused(call, str(reply))
        else:
            measure.answered(call.name, call.asked_at)
            self._decoded(call, reply)

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
            command = result.command
            slot = slot_of_command(command) if self._elsewhere else call.slot
            onward = Call(pack(command), result.decode, future, name=measure.name_of(command), slot=slot)
            (self._elsewhere or self).enqueue(onward)
        else:
            future.set_result(result)

    def _refused(self, call: Call, message: str) -> None:
        if call.allowed and message.startswith(call.allowed):
            self._decoded(call, None)
            return
        verdict = verdict_of(message)
        if self._elsewhere is not None and (verdict is Verdict.REDIRECT or message.startswith("TRYAGAIN")):
            self._elsewhere.redirect(call, message)
            return
        if verdict in {Verdict.FAIL, Verdict.REDIRECT}:
            if not call.future.done():
                known = verdict is Verdict.FAIL
                call.future.set_exception(error_of(message) if known else _is_one_of_many(self.address))
            return
        self._act_on(verdict)
        self._again.append(call)

    def _act_on(self, verdict: Verdict) -> None:
        """Before what was refused is sent again."""
        if verdict is Verdict.RELOAD:
            self._reload = True
            return
        self._pause()
        if verdict is Verdict.REDIRECT and self._elsewhere is not None:
            self._elsewhere.look_again()
        elif verdict is Verdict.RECONNECT and self._connection is not None:
            self._connection.abort()

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
        if self._waiting or self._reload or (self.fence is not None and self.fence.held):
            self._wake()

    def _lost(self) -> None:
        STORE_RECONNECTS.add()
        self._connection = None
        self.connected.clear()
        if self.fence is not None:
            self._again = self.fence.lost() + self._again
        self._again.extend(call for call in self._flying if call is not _FENCE)
        self._flying.clear()
        self._waiting.extendleft(reversed(self._again))
        self._again.clear()

    def _fail_all(self, error: StoreError) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(error)


def _is_one_of_many(address: Address) -> StoreUnsafeError:
    return StoreUnsafeError(
        [f"The store is a node of a Cluster: write redis+cluster://{address} as its address."]
    )


def _ignore(_: Reply) -> None:
    """The setup's replies tell nothing."""


_FENCE: Final = cast("Call", object())  # stands for each reply to a fence: nobody awaits it
