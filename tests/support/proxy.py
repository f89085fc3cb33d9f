"""A TCP proxy that does to its connections what networks do: it delays, cuts, drops one direction, swallows all."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, unique
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


@unique
class Way(Enum):
    """A direction, seen from who connects."""

    THERE = "there"
    BACK = "back"


class Proxy:
    """Passes on to *target*, `host:port` or the path of a socket; its faults may be changed at any time.

    Attributes:
        delay_s: how long each chunk is held back, in either direction.
        cut_after: a new connection is cut when it has carried so many bytes, both directions together; None: never.
        dropped: what goes these ways is swallowed, and whoever sent it is not told.
        connections: how many have been made.
    """

    def __init__(self, target: str) -> None:
        self.address = ""
        self.delay_s = 0.0
        self.cut_after: int | None = None
        self.dropped: set[Way] = set()
        self.connections = 0
        self.target = target
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    def swallow_all(self) -> None:
        """A black hole: connections stay, and are made, and nothing comes through."""
        self.dropped = {Way.THERE, Way.BACK}

    async def heal(self) -> None:
        """No more faults; connections that have lost something are cut, as a network would in the end."""
        is_whole = not self.dropped
        self.dropped = set()
        self.cut_after = None
        self.delay_s = 0.0
        if not is_whole:
            await self.cut()

    async def cut(self) -> None:
        """Break every connection that there is."""
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        writers = [writer]
        with contextlib.suppress(asyncio.CancelledError, OSError):
            try:
                there_reader, there_writer = await self._connect()
                writers.append(there_writer)
                budget = _Budget(self.cut_after)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(Way.THERE, reader, there_writer, budget))
                    group.create_task(self._pass(Way.BACK, there_reader, writer, budget))
            except* OSError:
                pass
        for each in writers:
            each.transport.abort()
        self._open.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.target.startswith("/"):
            return await asyncio.open_unix_connection(self.target)
        host, _, port = self.target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pass(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: _Budget
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if way in self.dropped:
                continue
            sent = chunk[: budget.left]
            budget.spend(len(sent))
            writer.write(sent)
            await writer.drain()
            if budget.left == 0:
                raise ConnectionAbortedError
        raise ConnectionResetError


class _Budget:
    """Bytes that a connection may carry."""

    def __init__(self, limit: int | None) -> None:
        self.left = limit

    def spend(self, count: int) -> None:
        """So many have gone."""
        if self.left is not None:
            self.left -= count
