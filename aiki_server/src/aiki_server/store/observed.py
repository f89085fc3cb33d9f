"""What an operator wants to see of the store: how much waits where, and for how long. Reads only, nothing per run."""

from __future__ import annotations

from asyncio import gather
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiki_server.store import keys, replies

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable

    from aiki_server.store.calls import Router
    from aiki_server.store.connection import Reply

INDEXES: Final[tuple[str, ...]] = ("open", "stalled")


@dataclass(frozen=True, slots=True)
class Depth:
    """Entries of streams, and when the oldest was made, in ms; 0 when there is none."""

    entries: int = 0
    oldest_ms: int = 0

    def __add__(self, other: Depth) -> Depth:
        known = [at for at in (self.oldest_ms, other.oldest_ms) if at]
        return Depth(self.entries + other.entries, min(known, default=0))


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; `limit` 0 when there is none."""

    used: int
    limit: int


class ObservationStore:
    """Everything goes by the flusher, in one pipeline with what else there is."""

    def __init__(self, flusher: Router) -> None:
        self._flusher = flusher

    async def handlers(self) -> list[tuple[str, str, str]]:
        """Namespace, queue and handler of all that was served lately."""
        members: list[bytes] = await self._flusher.submit(("ZRANGE", keys.HANDLERS, 0, -1), replies.as_it_is)
        split = (member.decode().split(":", 2) for member in members)
        return [(keys.unescaped(ns), keys.unescaped(queue), handler) for ns, queue, handler in split]

    async def outbox(self, partitions: Iterable[int]) -> Depth:
        """Effects on other runs that wait in these partitions."""
        return sum(await gather(*(self._depth(keys.outbox(number)) for number in partitions)), Depth())

    async def runs(self, namespace: str, partitions: Iterable[int]) -> dict[str, int]:
        """How many runs of these partitions are open, and how many of them stalled."""
        asked = [
            (name, self._flusher.submit(("ZCARD", keys.index(keys.tag(number), namespace, name)), int))
            for number in partitions
            for name in INDEXES
        ]
        counts: dict[str, int] = dict.fromkeys(INDEXES, 0)
        for name, count in asked:
            counts[name] += await count
        return counts

    def memory(self) -> Future[Memory]:
        """What the store uses."""

        def decode(reply: Reply) -> Memory:
            info = dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
            return Memory(int(info["used_memory"]), int(info["maxmemory"]))

        return self._flusher.submit(("INFO", "memory"), decode)

    async def _depth(self, stream: str) -> Depth:
        count = self._flusher.submit(("XLEN", stream), int)
        oldest = self._flusher.submit(("XRANGE", stream, "-", "+", "COUNT", 1), _oldest_ms)
        return Depth(await count, await oldest)


def _oldest_ms(reply: Reply) -> int:
    return int(reply[0][0].partition(b"-")[0]) if reply else 0
