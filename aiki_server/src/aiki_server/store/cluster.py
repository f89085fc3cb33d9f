"""A Redis or Valkey Cluster: one flusher for each primary, and each call to the one that has its slot.

The map of slots is what the nodes say; a node that says otherwise corrects it. Invariants: a call is in the hands of
one flusher at a time, and one that a node would not take is sent again, to the node that it names or the map does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from aiki_server.store import measure
from aiki_server.store.calls import Again, Call
from aiki_server.store.connection import connect_caller, pack
from aiki_server.store.errors import StoreError, StoreUnavailableError, StoreUnsafeError
from aiki_server.store.fence import Fence
from aiki_server.store.flusher import CALLS_WAITING_MAX, Flusher
from aiki_server.store.slots import NO_SLOT, SLOTS, slot_of_command, slot_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiki_server.store.address import Address, Target
    from aiki_server.store.connection import Argument, Reply
    from aiki_server.store.failovers import Failovers

T = TypeVar("T")

LOOK_SECONDS: Final = 2.0
TROUBLE_SECONDS: Final = 0.5
LOOK_SECONDS_MIN: Final = 0.05
RETRY_SECONDS: Final = 0.02
MOVES_MAX: Final = 3
"""A call that is sent to and fro waits a little: the nodes do not agree yet."""

log = structlog.get_logger(__name__)


class Cluster:
    """A `Router`. `replicas` of each write are waited for, if that is not 0."""

    def __init__(
        self, target: Target, scripts: Iterable[str], *, replicas: int, failovers: Failovers
    ) -> None:
        self.connected = asyncio.Event()
        self.settled = asyncio.Event()
        self._target = target
        self._scripts = list(scripts)
        self._replicas = replicas
        self._failovers = failovers
        self._problem: StoreError | None = StoreUnavailableError("not connected to the store yet")
        self._nodes: dict[Address, Flusher] = {}
        self._running: dict[Address, asyncio.Task[None]] = {}
        self._slots: list[Flusher | None] = [None] * SLOTS
        self._primaries: list[Flusher] = []
        self._parked: deque[Call] = deque()
        self._stale = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup | None = None
        self._closed = False

    @property
    def problem(self) -> StoreError | None:
        """Of the map, or of the first primary that has one."""
        if self._problem is not None:
            return self._problem
        return next((node.problem for node in self._primaries if node.problem is not None), None)

    @property
    def spans_nodes(self) -> bool:
        """It is a Cluster's."""
        return True

    @property
    def primaries(self) -> list[Flusher]:
        """Those that have slots."""
        return self._primaries

    def submit(
        self,
        command: tuple[Argument, ...],
        decode: Callable[[Reply], T | Again[T]],
        *,
        allowed: str = "",
    ) -> asyncio.Future[T]:
        """See `Router`."""
        future: asyncio.Future[T] = self._loop.create_future()
        name, slot = measure.name_of(command), slot_of_command(command)
        self.enqueue(Call(pack(command), decode, future, allowed, name, slot))
        return future

    def answer(self, value: T) -> asyncio.Future[T]:
        """See `Router`."""
        future: asyncio.Future[T] = self._loop.create_future()
        future.set_result(value)
        return future

    def slot_of(self, key: str) -> int:
        """See `Router`."""
        return slot_of_key(key)

    def node_of(self, key: str) -> Flusher:
        """See `Router`."""
        node = self._slots[slot_of_key(key)]
        if node is None:
            raise StoreUnavailableError(f"no node of {self._target} has the slot of {key}")
        return node

    def look_again(self) -> None:
        """See `Router`."""
        self._stale.set()

    def enqueue(self, call: Call) -> None:
        """Give it to the node that has its slot; without one it waits here for the next map."""
        if call.slot == NO_SLOT:
            node = self._primaries[0] if self._primaries else None
        else:
            node = self._slots[call.slot]
        if node is not None:
            node.enqueue(call)
        elif self._closed or len(self._parked) >= CALLS_WAITING_MAX:
            if not call.future.done():
                call.future.set_exception(StoreUnavailableError("the store was closed, or is not there"))
        else:
            self._parked.append(call)

    def redirect(self, call: Call, message: str) -> None:
        """MOVED and ASK name the node; TRYAGAIN is said while a slot moves and has some of the keys only."""
        code, *rest = message.split()
        call.moves += 1
        if code == "TRYAGAIN" or self._closed or call.moves % MOVES_MAX == 0:
            self._loop.call_later(RETRY_SECONDS, self.enqueue, call)
            return
        host, _, port = rest[1].rpartition(":")
        node = self._node(
            self._target.addresses[0].at(host.strip("[]") or self._target.addresses[0].host, int(port))
        )
        if code == "ASK":
            node.enqueue(Call(pack(("ASKING",)), _ignore, self._loop.create_future(), name="asking"))
        else:
            self._slots[int(rest[0])] = node
            self._stale.set()
        node.enqueue(call)

    async def run(self) -> None:
        """Keep the map and its connections until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                await self._keep()
        finally:
            self._closed = True
            while self._parked:
                call = self._parked.popleft()
                if not call.future.done():
                    call.future.set_exception(StoreUnavailableError("the connection to the store was closed"))

    async def _keep(self) -> None:
        while True:
            self._stale.clear()
            await self._look()
            await asyncio.sleep(LOOK_SECONDS_MIN)
            wait = LOOK_SECONDS if self.problem is None else TROUBLE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stale.wait()

    async def _look(self) -> None:
        try:
            ranges = await self._ranges()
        except StoreError as error:
            self._trouble(error)
            if isinstance(error, StoreUnsafeError):
                self.settled.set()
            return
        self._take(ranges)
        covered = sum(node is not None for node in self._slots)
        if covered < SLOTS:
            self._trouble(
                StoreUnavailableError(
                    f"the Cluster at {self._target} has nodes for {covered} of {SLOTS} slots only"
                )
            )
            return
        self._problem = None
        if not self.settled.is_set():
            await self._settle()

    async def _settle(self) -> None:
        """The first time: until every primary is connected, or one refuses us."""
        waits = [asyncio.ensure_future(node.settled.wait()) for node in self._primaries]
        try:
            async with asyncio.timeout(TROUBLE_SECONDS):
                await asyncio.gather(*waits)
        except TimeoutError:
            return
        finally:
            for wait in waits:
                wait.cancel()
        if all(node.connected.is_set() for node in self._primaries):
            self.connected.set()
        self.settled.set()

    async def _ranges(self) -> list[tuple[int, int, Address]]:
        """First and last slot of each range, and its primary, by the first node that tells.

        Raises:
            StoreError: none does.
        """
        known = sorted(self._nodes, key=lambda address: self._nodes[address].problem is not None)
        last: StoreError = StoreUnavailableError(f"no node of {self._target} answers")
        for address in dict.fromkeys((*known, *self._target.addresses)):
            try:
                caller = await connect_caller(address)
                try:
                    reply = await caller.call("CLUSTER", "SLOTS")
                finally:
                    caller.connection.abort()
            except StoreError as error:
                last = error
            else:
                return [
                    (first, until, address.at((node[0] or b"").decode() or address.host, node[1]))
                    for first, until, node, *_ in reply
                ]
        raise last

    def _take(self, ranges: list[tuple[int, int, Address]]) -> None:
        """This is the map now: what waits for a node that is none of it any more goes where it says."""
        primaries = {address: self._node(address) for _, _, address in ranges}
        self._slots = [None] * SLOTS
        for first, last, address in ranges:
            self._slots[first : last + 1] = [primaries[address]] * (last + 1 - first)
        if set(primaries.values()) != set(self._primaries):
            log.info("the store's primaries", nodes=", ".join(map(str, primaries)))
        self._primaries = list(primaries.values())
        for address in [address for address in self._nodes if address not in primaries]:
            node = self._nodes.pop(address)
            calls = node.evict()
            self._running.pop(address).cancel()
            for call in calls:
                self.enqueue(call)
        self._place_fences()
        parked, self._parked = self._parked, deque()
        for call in parked:
            self.enqueue(call)

    def _place_fences(self) -> None:
        if not self._replicas:
            return
        placed: set[Flusher] = set()
        number = 0
        while len(placed) < len(self._primaries):
            key = _pulse(number)
            number += 1
            node = self._slots[slot_of_key(key)]
            if node is not None and node not in placed and node.fence is not None:
                node.fence.place(key)
                placed.add(node)
            if number > SLOTS * 4:
                break

    def _node(self, address: Address) -> Flusher:
        node = self._nodes.get(address)
        if node is None:
            fence = Fence(self._replicas, _pulse(0)) if self._replicas else None
            node = Flusher(address, self._scripts, elsewhere=self, fence=fence, failovers=self._failovers)
            self._nodes[address] = node
            assert self._group is not None
            self._running[address] = self._group.create_task(node.run())
        return node

    def _trouble(self, error: StoreError) -> None:
        if self._problem is None or str(self._problem) != str(error):
            log.warning("store unavailable", store=str(self._target), reason=str(error))
        self._problem = error


def _pulse(number: int) -> str:
    return f"{{aiki:pulse:{number}}}"


def _ignore(_: Reply) -> None:
    """That ASKING was heard."""
