"""Blocking reads of streams, on connections of their own: one for all that a node can read together.

On a single node that is one connection; in a Cluster it is one for each slot, and a read of several ends as soon as
one of them has something. What another of them has read by then is returned too: nothing is read and dropped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiki_server.core.runs import Hint
from aiki_server.store import keys, replies
from aiki_server.store.connection import REPLY_SECONDS, connect_caller
from aiki_server.store.errors import StoreScriptError
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiki_server.store.calls import Router
    from aiki_server.store.connection import Argument, Caller, Reply
    from aiki_server.store.flusher import Flusher

INTERRUPT_SECONDS: Final = 0.005


class _Lane:
    """One connection to the node of one slot."""

    def __init__(self, node: Flusher, caller: Caller, client_id: int) -> None:
        self.node = node
        self.caller = caller
        self.client_id = client_id

    async def interrupt(self) -> bool:
        return await self.node.submit(("CLIENT", "UNBLOCK", self.client_id), bool)


class StreamReader:
    """Blocking reads of one coordinator. One call at a time; a failed one closes the reader: open another."""

    def __init__(self, router: Router, coordinator_id: str) -> None:
        self._router = router
        self._coordinator_id = coordinator_id
        self._lanes: dict[int, _Lane] = {}
        self._last_id = "0-0"
        self._groups: set[str] = set()

    async def begin(self) -> None:
        """Messages are those from now on.

        Raises:
            StoreError: not now.
        """
        stream = keys.coordinator_stream(self._coordinator_id)
        lane = await self._lane(stream)
        last = await lane.caller.call("XREVRANGE", stream, "+", "-", "COUNT", 1)
        if last:
            self._last_id = last[0][0].decode()

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.caller.connection.abort()

    async def read(self, streams: Iterable[str], *, count: int, block_ms: int) -> list[Hint]:
        """New entries of these streams of work, at most *count* of each; empty when *block_ms* are over.

        Raises:
            StoreError: a connection was lost; what was read and not returned is claimed later.
        """
        by_slot: dict[int, list[str]] = {}
        for name in sorted(set(streams)):
            if name not in self._groups:
                await self._make_group(name)
            by_slot.setdefault(self._router.slot_of(name), []).append(name)
        lanes = {slot: await self._lane(names[0]) for slot, names in by_slot.items()}
        if len(lanes) == 1:
            ((slot, names),) = by_slot.items()
            return await self._read(lanes[slot], names, count, block_ms)
        reads = {
            asyncio.ensure_future(self._read(lanes[slot], names, count, block_ms)): lanes[slot]
            for slot, names in by_slot.items()
        }
        try:
            await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*(_end(read, lane) for read, lane in reads.items()))
        finally:
            for read in reads:
                read.cancel()
        return [hint for read in reads for hint in read.result()]

    async def interrupt(self) -> bool:
        """Have a read that blocks return now, with nothing; false when it did not block (yet)."""
        return any(await asyncio.gather(*(lane.interrupt() for lane in self._lanes.values())))

    async def read_messages(self, *, block_ms: int, count: int = 1000) -> list[bytes]:
        """What was published to this coordinator since the last call, or since the reader was opened.

        Raises:
            StoreError: the connection was lost.
        """
        stream = keys.coordinator_stream(self._coordinator_id)
        lane = await self._lane(stream)
        reply = await lane.caller.call(
            "XREAD",
            "COUNT",
            count,
            "BLOCK",
            max(block_ms, 1),
            "STREAMS",
            stream,
            self._last_id,
            wait_seconds=block_ms / 1000 + REPLY_SECONDS,
        )
        if not reply:
            return []
        entries = reply[0][1]
        self._last_id = entries[-1][0].decode()
        return [fields[1] for _, fields in entries]

    async def _read(self, lane: _Lane, names: list[str], count: int, block_ms: int) -> list[Hint]:
        command: tuple[Argument, ...] = ("XREADGROUP", "GROUP", keys.GROUP, self._coordinator_id)
        command += ("COUNT", count, "BLOCK", max(block_ms, 1), "STREAMS", *names, *(">" for _ in names))
        try:
            reply = await lane.caller.call(*command, wait_seconds=block_ms / 1000 + REPLY_SECONDS)
        except StoreScriptError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._groups.clear()
            return []
        return [hint for name, entries in reply or () for hint in hints_of(name.decode(), entries)]

    async def _lane(self, stream: str) -> _Lane:
        slot = self._router.slot_of(stream)
        lane = self._lanes.get(slot)
        if lane is None:
            node = self._router.node_of(stream)
            caller = await connect_caller(node.address)
            lane = self._lanes[slot] = _Lane(node, caller, 0)
            lane.client_id = await caller.call("CLIENT", "ID")
        return lane

    async def _make_group(self, stream: str) -> None:
        command = script("make_group").command((stream,), (keys.GROUP,))
        await self._router.submit(command, replies.nothing)
        self._groups.add(stream)


def hints_of(stream: str, entries: list[Reply]) -> Iterable[Hint]:
    """Of entries as the store gives them."""
    for entry_id, fields in entries:
        if fields:
            run_id, address = keys.split_ready(fields[1].decode())
            yield Hint(stream, entry_id.decode(), run_id, address)


async def _end(read: asyncio.Future[list[Hint]], lane: _Lane) -> None:
    """Have a read come back with what it has."""
    while not read.done():
        await lane.interrupt()
        await asyncio.wait({read}, timeout=INTERRUPT_SECONDS)
