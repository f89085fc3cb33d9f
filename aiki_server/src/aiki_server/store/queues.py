"""Streams between coordinators: hints of work, and messages to one coordinator.

Both are hints: a repeated one is harmless, a lost one is made up for by the sweep. Streams of work are never
trimmed; an entry goes when its work was granted. Blocking reads have a connection of their own.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiki_server.core.runs import Hint
from aiki_server.store import keys, replies
from aiki_server.store.connection import REPLY_SECONDS, connect_caller
from aiki_server.store.errors import StoreScriptError
from aiki_server.store.flusher import Again

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from aiki_server.core.matching import Lane
    from aiki_server.core.runs import Attention, TaskAttention
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Argument, Caller, Reply
    from aiki_server.store.flusher import Flusher

MESSAGES_MAX: Final = 10_000
READY_FIELD: Final = "m"
TELL_LANE_MS: Final = 60_000
"""How often a coordinator says of a lane that it is in use."""


class StreamReader:
    """Blocking reads of one coordinator. One call at a time; a failed one closes the reader: open another."""

    def __init__(
        self, caller: Caller, flusher: Flusher, client_id: int, coordinator_id: str, last_id: str
    ) -> None:
        self._caller = caller
        self._flusher = flusher
        self._client_id = client_id
        self._coordinator_id = coordinator_id
        self._last_id = last_id
        self._groups: set[str] = set()

    async def read(self, streams: Iterable[str], *, count: int, block_ms: int) -> list[Hint]:
        """New entries of these streams of work, at most *count* of each; empty when *block_ms* are over.

        Raises:
            StoreError: the connection was lost; what was read and not returned is claimed later.
        """
        names = sorted(set(streams))
        for name in names:
            if name not in self._groups:
                await self._make_group(name)
        command: tuple[Argument, ...] = ("XREADGROUP", "GROUP", keys.GROUP, self._coordinator_id)
        command += ("COUNT", count, "BLOCK", max(block_ms, 1), "STREAMS", *names, *(">" for _ in names))
        try:
            reply = await self._caller.call(*command, wait_seconds=block_ms / 1000 + REPLY_SECONDS)
        except StoreScriptError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._groups.clear()
            return []
        return [hint for name, entries in reply or () for hint in _hints(name.decode(), entries)]

    def interrupt(self) -> Future[bool]:
        """Have a read that blocks return now, with nothing; false when it did not block (yet)."""
        return self._flusher.submit(("CLIENT", "UNBLOCK", self._client_id), bool)

    async def read_messages(self, *, block_ms: int, count: int = 1000) -> list[bytes]:
        """What was published to this coordinator since the last call, or since the reader was opened.

        Raises:
            StoreError: the connection was lost.
        """
        stream = keys.coordinator_stream(self._coordinator_id)
        reply = await self._caller.call(
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

    async def _make_group(self, stream: str) -> None:
        try:
            await self._caller.call("XGROUP", "CREATE", stream, keys.GROUP, "0", "MKSTREAM")
        except StoreScriptError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._groups.add(stream)


class QueueStore:
    def __init__(self, flusher: Flusher, clock: Clock) -> None:
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
            self._flusher.submit(("ZADD", keys.LANES, now_ms, keys.lane_member(lane)), replies.nothing)
        command = ("XADD", keys.queue_stream(lane), "*", READY_FIELD, replies.member_of(attention))
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
        """Entries read *idle_ms* ago or longer and not done. The next cursor, "0-0" at the end."""
        command = ("XAUTOCLAIM", stream, keys.GROUP, consumer, idle_ms, cursor, "COUNT", count)

        def decode(reply: Reply) -> tuple[str, list[Hint]]:
            return reply[0].decode(), list(_hints(stream, reply[1]))

        def group_made(_: Reply) -> Again[tuple[str, list[Hint]]]:
            return Again(command, decode)

        ensure = ("XGROUP", "CREATE", stream, keys.GROUP, "0", "MKSTREAM")
        return self._flusher.submit(ensure, group_made, allowed="BUSYGROUP")

    @asynccontextmanager
    async def reader(self, *, coordinator_id: str) -> AsyncGenerator[StreamReader]:
        """A reader with a connection of its own, which sees messages published from now on.

        Raises:
            StoreUnavailableError: the store cannot be reached now.
        """
        caller = await connect_caller(self._flusher.address)
        try:
            last = await caller.call(
                "XREVRANGE", keys.coordinator_stream(coordinator_id), "+", "-", "COUNT", 1
            )
            client_id: int = await caller.call("CLIENT", "ID")
            last_id = last[0][0].decode() if last else "0-0"
            yield StreamReader(caller, self._flusher, client_id, coordinator_id, last_id)
        finally:
            caller.connection.abort()

    def publish(self, *, coordinator_id: str, message: bytes) -> Future[None]:
        """Tell one coordinator something (a poke, a cancel, a closed run); capped, may be lost."""
        stream = keys.coordinator_stream(coordinator_id)
        command = ("XADD", stream, "MAXLEN", "~", MESSAGES_MAX, "*", READY_FIELD, message)
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


def _text(reply: bytes) -> str:
    return reply.decode()


def _entry_ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _hints(stream: str, entries: list[Reply]) -> Iterable[Hint]:
    for entry_id, fields in entries:
        if fields:
            run_id, address = keys.split_ready(fields[1].decode())
            yield Hint(stream, entry_id.decode(), run_id, address)
