"""What coordinators tell of themselves for others to show, and sizes of what waits: nothing here decides anything."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiki_server.store import keys, replies

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router


@dataclass(frozen=True, slots=True)
class Size:
    """How many entries there are, and when the oldest was made, in ms; 0 when there is none."""

    count: int
    oldest_ms: int

    def __add__(self, other: Size) -> Size:
        known = [at for at in (self.oldest_ms, other.oldest_ms) if at]
        return Size(self.count + other.count, min(known, default=0))


@dataclass(frozen=True, slots=True)
class Served:
    """A kind of work that was served lately, and until when that was said, in ms."""

    namespace: str
    queue: str
    handler: str
    until_ms: int


class PictureStore:
    def __init__(self, flusher: Router, partitions: int) -> None:
        self._flusher = flusher
        self._partitions = partitions

    def tell(self, *, coordinator_id: str, picture: bytes, ttl_ms: int) -> Future[None]:
        """Keep what a coordinator says of itself, until its time is up."""
        command = ("SET", keys.coordinator_picture(coordinator_id), picture, "PX", ttl_ms)
        return self._flusher.submit(command, replies.nothing)

    def forget(self, *, coordinator_id: str) -> Future[None]:
        """It goes."""
        return self._flusher.submit(("UNLINK", keys.coordinator_picture(coordinator_id)), replies.nothing)

    def told(self, *, coordinator_id: str) -> Future[bytes | None]:
        """What it said last; None when it has said nothing for a while."""
        return self._flusher.submit(("GET", keys.coordinator_picture(coordinator_id)), replies.as_it_is)

    def served(self) -> Future[list[Served]]:
        """Everything that was served lately, of all namespaces."""

        def decode(reply: list[bytes]) -> list[Served]:
            found: list[Served] = []
            for member, score in zip(reply[::2], reply[1::2], strict=True):
                namespace, queue, handler = member.decode().split(":", 2)
                until_ms = int(float(score))
                found.append(Served(keys.unescaped(namespace), keys.unescaped(queue), handler, until_ms))
            return found

        return self._flusher.submit(("ZRANGE", keys.HANDLERS, 0, -1, "WITHSCORES"), decode)

    async def ready(self) -> Size:
        """What needs attention in all partitions."""
        sizes = [
            (
                self._flusher.submit(("ZCARD", f"{keys.tag(number)}ready"), int),
                self._flusher.submit(("ZRANGE", f"{keys.tag(number)}ready", 0, 0, "WITHSCORES"), _score_ms),
            )
            for number in range(self._partitions)
        ]
        counts = [await count for count, _ in sizes]
        firsts = [first for _, asked in sizes if (first := await asked)]
        return Size(sum(counts), min(firsts, default=0))

    async def timers(self) -> int:
        """How many timers are armed."""
        asked = [
            self._flusher.submit(("ZCARD", f"{keys.tag(number)}timers"), int)
            for number in range(self._partitions)
        ]
        return sum(await asyncio.gather(*asked))


def _score_ms(reply: list[bytes]) -> int:
    return int(float(reply[1])) if reply else 0
