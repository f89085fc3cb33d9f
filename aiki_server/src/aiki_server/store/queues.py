"""Streams between coordinators: hints of work, and messages to one coordinator. Hints only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from aiki_server.core.runs import Attention, Hint, TaskAttention


class StreamReader:
    """Blocking reads, on a connection of their own."""

    async def read(self, streams: Iterable[str], *, count: int, block_ms: int) -> list[Hint]:
        """XREADGROUP over these queue streams (groups are made when missing); *count* per stream."""
        raise NotImplementedError

    async def read_messages(self, *, block_ms: int) -> list[bytes]:
        """Messages published to this coordinator since the last call (since the reader opened)."""
        raise NotImplementedError


class QueueStore:
    def stream(self, *, namespace: str, queue: str, handler: str) -> str:
        """The stream's name, for `StreamReader.read`."""
        raise NotImplementedError

    def hint(self, attention: Attention | TaskAttention) -> Future[None]:
        """Put it into the stream of its queue and handler."""
        raise NotImplementedError

    def done(self, hints: Iterable[Hint]) -> Future[None]:
        """Granted, or nothing to grant any more: XACK and XDEL."""
        raise NotImplementedError

    def claim(
        self, *, stream: str, consumer: str, idle_ms: int, cursor: str, count: int
    ) -> Future[tuple[str, list[Hint]]]:
        """XAUTOCLAIM: entries read by somebody *idle_ms* ago and not done. Next cursor, "0-0" at the end."""
        raise NotImplementedError

    def reader(self, *, coordinator_id: str) -> AbstractAsyncContextManager[StreamReader]:
        raise NotImplementedError

    def publish(self, *, coordinator_id: str, message: bytes) -> Future[None]:
        """Tell one coordinator something (a poke, a cancel, a closed run); capped, may be lost."""
        raise NotImplementedError

    def backlog(self, streams: Iterable[str]) -> Future[Mapping[str, int]]:
        """Stream → time of its oldest entry in ms (a hint older than that is gone); absent when empty."""
        raise NotImplementedError
