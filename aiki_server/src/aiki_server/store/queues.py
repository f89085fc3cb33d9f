"""Streams between coordinators: hints of work, and messages to one coordinator.

Both are hints: a repeated one is harmless, a lost one is made up for by the sweep. Streams of work are never
trimmed; an entry goes when its work was granted. Blocking reads have a connection of their own.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiki_server.store import keys, replies
from aiki_server.store.errors import StoreError, StoreScriptError
from aiki_server.store.reader import StreamReader, hints_of
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import AsyncGenerator, Container, Iterable, Mapping

    from aiki_server.core.matching import Lane
    from aiki_server.core.runs import Attention, Hint, TaskAttention
    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply

FIRST: Final = "0-0"
"""The cursor of a claim that begins, or has come to the end."""
MESSAGES_MAX: Final = 10_000
READY_FIELD: Final = "m"
TELL_LANE_MS: Final = 60_000
"""How often a coordinator says of a lane that it is in use."""


class QueueStore:
    def __init__(self, flusher: Router, clock: Clock) -> None:
        self._flusher = flusher
        self._clock = clock
        self._told: dict[Lane, int] = {}

    def stream(self, lane: Lane) -> str:
        """The stream's name, for `StreamReader.read`."""
        return keys.queue_stream(lane)

    def hint(self, lane: Lane, attention: Attention | TaskAttention) -> Future[str]:
        """Put it into the stream of its lane; the id of the entry."""
        now_ms = self._clock.now_ms()
        if self._told.get(lane, 0) + TELL_LANE_MS < now_ms:
            self._told[lane] = now_ms
            told = script("set_scores").command((keys.LANES,), ("", now_ms, keys.lane_member(lane)))
            self._flusher.submit(told, replies.nothing)
        arguments = (READY_FIELD, replies.member_of(attention), 0)
        command = script("add_entry").command((keys.queue_stream(lane),), arguments)
        return self._flusher.submit(command, _text)

    def withdraw(self, lane: Lane, entry_id: str) -> Future[None]:
        """Take back a hint that nobody should follow any more."""
        return self._flusher.submit(("XDEL", keys.queue_stream(lane), entry_id), replies.nothing)

    def lanes(self) -> Future[list[Lane]]:
        """All in which work was hinted since `forget_lanes`, by whichever coordinator."""

        def decode(reply: list[bytes]) -> list[Lane]:
            return [keys.lane_from(member) for member in reply]

        return self._flusher.submit(("ZRANGE", keys.LANES, 0, -1), decode)

    async def lengths(self, lanes: Iterable[Lane]) -> dict[Lane, tuple[int, int]]:
        """Lane -> how many hints wait there, and when the oldest was made, in ms (0 when there is none)."""
        asked = {
            lane: (
                self._flusher.submit(("XLEN", keys.queue_stream(lane)), int),
                self._flusher.submit(
                    ("XRANGE", keys.queue_stream(lane), "-", "+", "COUNT", 1), replies.as_it_is
                ),
            )
            for lane in lanes
        }
        found: dict[Lane, tuple[int, int]] = {}
        for lane, (length, oldest) in asked.items():
            entries = await oldest
            found[lane] = await length, _entry_ms(entries[0][0]) if entries else 0
        return found

    async def heads(self, lanes: Iterable[Lane], count: int) -> dict[Lane, list[str]]:
        """The first things that wait in each lane, as `ready_run` and `ready_task` of the keys name them."""
        asked = {
            lane: self._flusher.submit(
                ("XRANGE", keys.queue_stream(lane), "-", "+", "COUNT", count), replies.as_it_is
            )
            for lane in lanes
        }
        return {lane: [fields[1].decode() for _, fields in await future] for lane, future in asked.items()}

    async def forget_stale(self, lane: Lane, *, count: int) -> int:
        """Take out those of the first *count* hints whose run or task needs nobody any more; how many they were.

        What needs attention is in `ready` before it is hinted, so a hint without it there is about nothing.
        """
        stream = keys.queue_stream(lane)
        entries = await self._flusher.submit(("XRANGE", stream, "-", "+", "COUNT", count), replies.as_it_is)
        asked: list[tuple[str, Future[Reply]]] = []
        for entry_id, fields in entries:
            member = fields[1].decode()
            ready = f"{keys.tag_of(keys.split_ready(member)[0])}ready"
            asked.append(
                (entry_id.decode(), self._flusher.submit(("ZSCORE", ready, member), replies.as_it_is))
            )
        stale = [entry_id for entry_id, score in asked if await score is None]
        if stale:
            self._flusher.submit(("XACK", stream, keys.GROUP, *stale), replies.nothing)
            await self._flusher.submit(("XDEL", stream, *stale), replies.nothing)
        return len(stale)

    async def forget_lanes(self, *, before_ms: int) -> None:
        """Drop lanes, and their streams, in which nothing was hinted since: `ready` makes them again."""
        command = ("ZRANGE", keys.LANES, "-inf", f"({before_ms}", "BYSCORE", "LIMIT", 0, 100)
        for member in await self._flusher.submit(command, replies.as_it_is):
            lane = keys.lane_from(member)
            self._told.pop(lane, None)
            await self._flusher.submit(("UNLINK", keys.queue_stream(lane)), replies.nothing)
            await self._flusher.submit(("ZREM", keys.LANES, member), replies.nothing)

    def drop(self, stream: str) -> Future[None]:
        """Delete a stream; `ready` makes it again."""
        return self._flusher.submit(("UNLINK", stream), replies.nothing)

    def report(self, *, coordinator_id: str, text: str, ttl_ms: int) -> Future[None]:
        """Say what this coordinator's sessions are and do."""
        command = ("SET", keys.coordinator_report(coordinator_id), text, "PX", ttl_ms)
        return self._flusher.submit(command, replies.nothing)

    async def reports(self, coordinator_ids: Iterable[str]) -> dict[str, str]:
        """What coordinators said; one that has not, for a while, is absent."""
        asked = {
            name: self._flusher.submit(("GET", keys.coordinator_report(name)), replies.as_it_is)
            for name in coordinator_ids
        }
        texts = {name: await future for name, future in asked.items()}
        return {name: text.decode() for name, text in texts.items() if text is not None}

    def done(self, hints: Iterable[Hint]) -> Future[None]:
        """Granted, or nothing to grant any more: XACK and XDEL."""
        by_stream: dict[str, list[str]] = {}
        for hint in hints:
            by_stream.setdefault(hint.stream, []).append(hint.entry_id)
        last: Future[None] | None = None
        for stream, ids in by_stream.items():
            self._flusher.submit(("XACK", stream, keys.GROUP, *ids), replies.nothing)
            last = self._flusher.submit(("XDEL", stream, *ids), replies.nothing)
        return self._flusher.answer(None) if last is None else last

    def claim(
        self, *, stream: str, consumer: str, idle_ms: int, cursor: str, count: int
    ) -> Future[tuple[str, list[Hint]]]:
        """Entries read *idle_ms* ago or longer and not done. The next cursor, "0-0" at the end.

        No group is made: while there is none, nothing was read.
        """
        command = ("XAUTOCLAIM", stream, keys.GROUP, consumer, idle_ms, cursor, "COUNT", count)

        def decode(reply: Reply) -> tuple[str, list[Hint]]:
            if reply is None:
                return FIRST, []
            return reply[0].decode(), list(hints_of(stream, reply[1]))

        return self._flusher.submit(command, decode, allowed="NOGROUP")

    @asynccontextmanager
    async def reader(self, *, coordinator_id: str) -> AsyncGenerator[StreamReader]:
        """A reader with connections of its own, which sees messages published from now on.

        Raises:
            StoreUnavailableError: the store cannot be reached now.
        """
        reader = StreamReader(self._flusher, coordinator_id)
        try:
            await reader.begin()
            yield reader
        except StoreError:
            self._flusher.look_again()
            raise
        finally:
            reader.close()

    def publish(self, *, coordinator_id: str, message: bytes) -> Future[None]:
        """Tell one coordinator something (a poke, a cancel, a closed run); capped, may be lost."""
        stream = keys.coordinator_stream(coordinator_id)
        command = script("add_entry").command((stream,), (READY_FIELD, message, MESSAGES_MAX))
        return self._flusher.submit(command, replies.nothing)

    async def backlog(self, streams: Iterable[str]) -> Mapping[str, int]:
        """Stream → when its oldest entry was made, in ms (older hints are gone); absent when it is empty."""
        asked = {
            stream: self._flusher.submit(("XRANGE", stream, "-", "+", "COUNT", 1), replies.as_it_is)
            for stream in streams
        }
        found: dict[str, int] = {}
        for stream, future in asked.items():
            if entries := await future:
                found[stream] = _entry_ms(entries[0][0])
        return found

    async def forget_readers(self, stream: str, alive: Container[str]) -> None:
        """Take readers that are not alive, and have read nothing that is still to be done, out of the group."""
        try:
            readers: list[list[Reply]] = await self._flusher.submit(
                ("XINFO", "CONSUMERS", stream, keys.GROUP), replies.as_it_is
            )
        except StoreScriptError as error:
            # Hints nobody has read yet: no group, or not even a stream.
            if not str(error).startswith(("NOGROUP", "ERR no such key")):
                raise
            return
        for reader in readers:
            facts = dict(zip(reader[::2], reader[1::2], strict=True))
            name = facts[b"name"].decode()
            if name not in alive and not facts[b"pending"]:
                await self._flusher.submit(
                    ("XGROUP", "DELCONSUMER", stream, keys.GROUP, name), replies.nothing, allowed="NOGROUP"
                )


def _text(reply: bytes) -> str:
    return reply.decode()


def _entry_ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
