"""A call of the store on its way, and the port by which all stores make them.

`Router` is one flusher for a single node, and a `Cluster` of them otherwise: who calls cannot tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from aiki_server.store.connection import Argument, Reply

if TYPE_CHECKING:
    from aiki_server.store.errors import StoreError
    from aiki_server.store.flusher import Flusher

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Again(Generic[T]):
    """A decoder's answer: the call goes on with another command, for the same future."""

    command: tuple[Argument, ...]
    decode: Callable[[Reply], T | Again[T]]


class Call:
    """A command on its way. Its future may be cancelled by its caller at any time.

    That the future takes what the decoder gives is checked by the signature of `Router.submit`. `slot` is where a
    Cluster has its keys, and `moves` how often that turned out to be elsewhere.
    """

    __slots__ = ("allowed", "asked_at", "decode", "future", "moves", "name", "packed", "slot")

    def __init__(
        self,
        packed: bytes,
        decode: Callable[[Reply], object],
        future: asyncio.Future[Any],
        allowed: str = "",
        name: str = "setup",
        slot: int = 0,
    ) -> None:
        self.allowed = allowed
        self.asked_at = perf_counter()
        self.name = name
        self.packed = packed
        self.decode = decode
        self.future = future
        self.slot = slot
        self.moves = 0


class Elsewhere(Protocol):
    """Who knows the other nodes."""

    def enqueue(self, call: Call) -> None:
        """Send it to the node that has its slot."""
        ...

    def redirect(self, call: Call, message: str) -> None:
        """A node has said that the call belongs elsewhere, or is to be tried again there."""
        ...

    def look_again(self) -> None:
        """A node was not where it was thought to be."""
        ...


class Router(Protocol):
    """Sends calls to the node that has their keys. A call is sent again until it is answered."""

    connected: asyncio.Event
    settled: asyncio.Event
    """Connected once, or refused."""

    @property
    def spans_nodes(self) -> bool:
        """Whether it is a Cluster."""
        ...

    @property
    def problem(self) -> StoreError | None:
        """Why calls wait, if they do."""
        ...

    @property
    def primaries(self) -> list[Flusher]:
        """Every node that takes writes."""
        ...

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
        ...

    def answer(self, value: T) -> asyncio.Future[T]:
        """A future that is done: nothing need be asked."""
        ...

    def slot_of(self, key: str) -> int:
        """Blocking reads of keys with the same slot can be one."""
        ...

    def node_of(self, key: str) -> Flusher:
        """The node that has this key now.

        Raises:
            StoreUnavailableError: none has, for now.
        """
        ...

    def look_again(self) -> None:
        """A node was not where it was thought to be."""
        ...

    async def run(self) -> None:
        """Keep the connections until cancelled."""
        ...
