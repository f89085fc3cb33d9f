"""Listing runs, newest first, over all partitions.

Runs are ordered by when they were started, then by id. A page token names the last run looked at, so pages
neither repeat nor skip a run that was there when the first page was made.
"""

from __future__ import annotations

import heapq
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final

from aiki_server.core.runs import LISTED_CLOSED_STATES, RunRecord, RunState
from aiki_server.store import keys, replies
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Collection

    from aiki_server.store.calls import Router
    from aiki_server.store.connection import Reply

ROUNDS_MAX: Final = 10
STALLED_MAX: Final = 1_000

# When a run was started, and its id: the order of a listing, newest first.
Position = tuple[int, str]


class ListingStore:
    def __init__(self, flusher: Router, partitions: int) -> None:
        self._flusher = flusher
        self._partitions = partitions

    async def page(
        self,
        *,
        namespace: str,
        size: int,
        token: str = "",
        workflow: str = "",
        states: Collection[RunState] = (),
    ) -> tuple[list[RunRecord], str]:
        """A page and the next token ("" at the end). Filters can make a page short, even empty, never wrong.

        Raises:
            ValueError: the token was not made here.
        """
        after = _position(token) if token else None
        found: list[RunRecord] = []
        for _ in range(ROUNDS_MAX):
            positions = await self._newest(namespace, _indexes(states), size, after)
            for record in await self._records(namespace, positions):
                after = (record.start_ms, record.run_id)
                if (not workflow or record.workflow == workflow) and (not states or record.state in states):
                    found.append(record)
                    if len(found) == size:
                        return found, _token(after)
            if len(positions) < size:
                return found, ""
            after = positions[-1]
        return found, _token(after) if after else ""

    async def count_stalled(self, *, namespace: str) -> int:
        """How many runs are stalled, in all partitions."""
        indexes = (keys.index(keys.tag(number), namespace, "stalled") for number in range(self._partitions))
        asked = [self._flusher.submit(("ZCARD", index), int) for index in indexes]
        return sum([await count for count in asked])

    async def stalled(
        self, *, partition: int, namespace: str, workflow: str, version: str
    ) -> list[tuple[str, bytes]]:
        """Run id and failure of the stalled runs of one workflow and version in a partition, at most 1,000."""
        key = keys.index(keys.tag(partition), namespace, "stalled")
        members: list[bytes] = await self._flusher.submit(
            ("ZRANGE", key, 0, STALLED_MAX - 1), replies.as_it_is
        )
        run_ids = [member.decode() for member in members]
        asked = [
            self._flusher.submit(
                ("HMGET", keys.run(run_id), "workflow", "version", "state", "failure"), replies.as_it_is
            )
            for run_id in run_ids
        ]
        wanted = [workflow.encode(), version.encode(), b"stalled"]
        found: list[tuple[str, bytes]] = []
        for run_id, future in zip(run_ids, asked, strict=True):
            *what, failure = await future
            if what == wanted:
                found.append((run_id, failure or b""))
        return found

    async def _newest(
        self, namespace: str, indexes: list[str], size: int, after: Position | None
    ) -> list[Position]:
        asked = [
            self._flusher.submit(
                self._range(keys.index(keys.tag(partition), namespace, index), size, after), _positions
            )
            for partition in range(self._partitions)
            for index in indexes
        ]
        merged = [position for future in asked for position in await future]
        # What closed between two of these reads is in two of them.
        return heapq.nlargest(size, {one for one in merged if after is None or one < after})

    def _range(self, key: str, size: int, after: Position | None) -> tuple[str | int, ...]:
        """Also the runs started in the same millisecond as the last one seen: `_newest` leaves out those seen."""
        newest = f"{after[0]}" if after else "+inf"
        return ("ZRANGE", key, newest, "-inf", "BYSCORE", "REV", "LIMIT", 0, size + _TIES, "WITHSCORES")

    async def _records(self, namespace: str, positions: list[Position]) -> list[RunRecord]:
        asked: list[tuple[str, Future[Reply]]] = []
        for _, run_id in positions:
            prefix = keys.tag_of(run_id)
            command = script("summary").command((f"{prefix}run:{run_id}", f"{prefix}history:{run_id}"), ())
            asked.append((run_id, self._flusher.submit(command, replies.as_it_is)))
        records = [(run_id, await future) for run_id, future in asked]
        made = [replies.record(run_id, reply) for run_id, reply in records if reply is not None]
        return [record for record in made if record.namespace == namespace]


_OPEN: Final = frozenset({RunState.RUNNING, RunState.WAITING, RunState.PAUSED, RunState.SCHEDULED})

# Runs of one partition that may have been started in one millisecond: more would be left out between two pages.
_TIES: Final = 200


def _indexes(states: Collection[RunState]) -> list[str]:
    if not states:
        return ["open", *LISTED_CLOSED_STATES]
    return sorted({"open" if state in _OPEN else state.value for state in states})


def _positions(reply: list[bytes]) -> list[Position]:
    return [
        (int(float(score)), member.decode()) for member, score in zip(reply[::2], reply[1::2], strict=True)
    ]


def _token(position: Position) -> str:
    return urlsafe_b64encode(f"{position[0]}:{position[1]}".encode()).decode()


def _position(token: str) -> Position:
    try:
        start_ms, run_id = urlsafe_b64decode(token.encode()).decode().split(":")
        return int(start_ms), run_id
    except (ValueError, UnicodeError) as error:
        raise ValueError(f"{token!r} is not a page token") from error
