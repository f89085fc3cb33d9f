"""Reads the streams: hints of work that sessions here have credit for, and messages to this coordinator."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

import structlog

from aiki_server.core.matching import Lane, Profile, shares
from aiki_server.core.pace import next_claim_s
from aiki_server.core.runs import Attention, Hint, TaskAttention
from aiki_server.loops.membership import Membership
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.matching import Matching
from aiki_server.rpc.pools import READ_MAX, Pool
from aiki_server.store import StreamReader
from aiki_server.store.errors import StoreError
from aiki_server.store.queues import FIRST

BLOCK_MS = 1000
RETRY_SECONDS = 0.5
CLAIM_IDLE_MS = 2_000
"""An entry that was read this long ago and not granted is read again by whoever has credit."""
INTERRUPT_SECONDS = 0.005
"""A read that was sent and does not block yet is interrupted again after this."""
log = structlog.get_logger(__name__)


async def read_messages(hub: Hub) -> None:
    """Pass on what other coordinators say, until cancelled."""
    while True:
        try:
            async with hub.stores.queues.reader(coordinator_id=hub.coordinator_id) as reader:
                while True:
                    for message in await reader.read_messages(block_ms=BLOCK_MS):
                        hub.heard(message.decode())
        except StoreError as error:
            log.warning("messages cannot be read", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)


@dataclass(slots=True)
class _Stream:
    """What is known of one stream: hints read for which there was no credit, and where claiming stands.

    `more`: the last read brought as much as was asked for. `pause_s`: from the last claim to the next, at `claim_at`.
    """

    lane: Lane
    kept: deque[Hint] = field(default_factory=deque[Hint])
    cursor: str = FIRST
    more: bool = False
    pause_s: float = 0.0
    claim_at: float = 0.0

    def claim_soon(self) -> None:
        """Something may have been left."""
        self.pause_s = 0.0
        self.claim_at = min(self.claim_at, time.monotonic() + next_claim_s(0.0, found=True))

    def claim_now(self) -> None:
        """Something was left, and long ago."""
        self.pause_s = self.claim_at = 0.0


class Hints:
    """Turns hints into grants while there is credit, in the order that `core.matching` says.

    What was read and found no credit is kept, and its stream is not read on before that is gone; what
    nobody here serves any more is let go, for another coordinator to claim.
    """

    def __init__(self, hub: Hub, membership: Membership) -> None:
        self._hub = hub
        self._membership = membership
        self._alive = membership.others()
        self._matching = hub.matching
        self._streams: dict[str, _Stream] = {}
        self._version = -1

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with self._hub.stores.queues.reader(coordinator_id=self._hub.coordinator_id) as reader:
                    # What the last one had read when it was lost is this coordinator's, and unknown to it.
                    for stream in self._streams.values():
                        stream.claim_soon()
                    while True:
                        await self._round(reader)
            except* StoreError as errors:
                log.warning("queues cannot be read", reason=str(errors.exceptions[0]))
            await asyncio.sleep(RETRY_SECONDS)

    async def _round(self, reader: StreamReader) -> None:
        self._matching.credit_came.clear()
        await self._refill(reader)
        credit = self._look()
        if not credit:
            await self._matching.credit_came.wait()
            return
        self._notice_the_dead()
        await self._claim(credit)
        async with asyncio.TaskGroup() as group:
            count = min(READ_MAX, *credit.values())
            reading = group.create_task(reader.read(credit, count=count, block_ms=BLOCK_MS))
            watching = group.create_task(self._interrupt_for_more(reader, credit))
            self._keep(await reading, credit, count)
            self._deal()
            watching.cancel()

    async def _refill(self, reader: StreamReader) -> None:
        """Before what was kept is dealt: lanes that are known to have more must have some of it here, to have their turn."""
        streams = self._streams.values()
        if any(stream.kept for stream in streams) and any(stream.more for stream in streams):
            credit = self._readable()
            names = [name for name in credit if self._streams[name].more]
            if names:
                count = min(READ_MAX, *(credit[name] for name in names))
                self._keep(await reader.read(names, count=count, block_ms=1), names, count)

    def _look(self) -> dict[str, int]:
        """Act on what was kept; the streams to read now, and the credit there is for each."""
        if self._hub.draining.is_set():
            self._pass_on()
        if self._version != self._matching.version:
            self._version = self._matching.version
            lanes = self._matching.served_lanes()
            named = {self._hub.stores.queues.stream(lane): lane for lane in lanes}
            self._streams = {name: self._streams.get(name) or _Stream(lane) for name, lane in named.items()}
        self._deal()
        self._matching.behind_are(
            stream.lane for stream in self._streams.values() if stream.kept or stream.more
        )
        return self._readable()

    def _readable(self) -> dict[str, int]:
        """The streams that are not read further than there is credit for, and how much there is."""
        credit = _Credits(self._matching)
        return {
            name: free
            for name, stream in self._streams.items()
            if not stream.kept and (free := credit.of(stream.lane)) > 0
        }

    def _deal(self) -> None:
        """Give what was kept to whoever has credit for it."""
        waiting = {stream.lane: stream for stream in self._streams.values() if stream.kept}
        if not waiting:
            return
        for pool in list(self._matching.pools.values()):
            for is_of_tasks, turns in pool.turns.items():
                fitting = [
                    lane
                    for lane, stream in waiting.items()
                    if stream.kept and lane.is_of_tasks == is_of_tasks and pool.profile.fits(lane)
                ]
                if fitting and pool.free(fitting[0]) > 0:
                    turns.deal(
                        shares(fitting, pool.profile.weight_of), partial(self._serve_next, pool, waiting)
                    )

    def _pass_on(self) -> None:
        """What was kept is for another coordinator, at once: it would claim that only when it is old."""
        for stream in self._streams.values():
            while stream.kept:
                hint = stream.kept.popleft()
                again = self._hub.stores.queues.hint(stream.lane, _about(hint, stream.lane))
                self._hub.when_done(again, partial(self._passed_on, hint))

    def _passed_on(self, hint: Hint, _entry_id: str) -> None:
        self._done(hint)

    def _serve_next(self, pool: Pool, waiting: dict[Lane, _Stream], lane: Lane) -> int:
        """Grant what the next hint of a lane names; what it cost, 0 when nobody has credit for it."""
        stream, matching = waiting[lane], self._matching
        if not stream.kept:
            return 0
        hint = stream.kept[0]
        session = matching.near(hint.run_id, lane) if not hint.address else None
        session = session or pool.best(lane)
        if session is None:
            return 0
        stream.kept.popleft()
        self._done(hint)
        if hint.address:
            matching.take(session, lane, hint.run_id, hint.address)
        else:
            matching.grant(session, lane, hint.run_id)
        return session.credit.cost(lane)

    async def _interrupt_for_more(self, reader: StreamReader, reading: Collection[str]) -> None:
        """While a read blocks: credit for a stream that it leaves out ends it."""
        while True:
            await self._matching.credit_came.wait()
            self._matching.credit_came.clear()
            if not self._look().keys() <= set(reading):
                while not await reader.interrupt():  # noqa: ASYNC110  the store tells nobody that a read blocks
                    await asyncio.sleep(INTERRUPT_SECONDS)
                return

    def _notice_the_dead(self) -> None:
        """What a coordinator that is gone had read is claimed at once."""
        alive = self._membership.others()
        if self._alive - alive:
            for stream in self._streams.values():
                stream.claim_now()
        self._alive = alive

    async def _claim(self, names: Iterable[str]) -> None:
        """Take over what others, or this one before, have read and not granted, where it is time to."""
        now = time.monotonic()
        streams = {
            name: stream
            for name in names
            if (stream := self._streams.get(name)) is not None and now >= stream.claim_at
        }
        if not streams:
            return
        claimed = await asyncio.gather(
            *(
                self._hub.stores.queues.claim(
                    stream=name,
                    consumer=self._hub.coordinator_id,
                    idle_ms=CLAIM_IDLE_MS,
                    cursor=stream.cursor,
                    count=READ_MAX,
                )
                for name, stream in streams.items()
            )
        )
        for stream, (cursor, hints) in zip(streams.values(), claimed, strict=True):
            stream.cursor = cursor
            stream.kept.extend(hints)
            stream.pause_s = next_claim_s(stream.pause_s, found=bool(hints) or cursor != FIRST)
            stream.claim_at = now + stream.pause_s
        self._deal()

    def _keep(self, hints: Iterable[Hint], names: Collection[str], count: int) -> None:
        """What was read of some streams, *count* of each at most; where nobody here serves it any more others claim it."""
        read = Counter[str]()
        for hint in hints:
            read[hint.stream] += 1
            stream = self._streams.get(hint.stream)
            if stream is not None:
                stream.kept.append(hint)
        for name in names:
            if name in self._streams:
                self._streams[name].more = read[name] >= count
                if read[name]:
                    self._streams[name].claim_soon()

    def _done(self, hint: Hint) -> None:
        self._hub.when_done(self._hub.stores.queues.done([hint]), lambda _: None)


def _about(hint: Hint, lane: Lane) -> Attention | TaskAttention:
    if hint.address:
        return TaskAttention(hint.run_id, hint.address, lane.namespace, lane.queue, lane.handler)
    return Attention(
        *(hint.run_id, lane.namespace, lane.queue, lane.handler, None, ""), stalled=False, fresh=False
    )


class _Credits:
    """The credit for lanes, looked up once for all that share it."""

    def __init__(self, matching: Matching) -> None:
        self._matching = matching
        self._known: dict[tuple[Profile, bool, str], int] = {}

    def of(self, lane: Lane) -> int:
        return sum(self._of(pool, lane) for pool in self._matching.fitting(lane))

    def _of(self, pool: Pool, lane: Lane) -> int:
        key = pool.profile, lane.is_of_tasks, lane.queue if pool.profile.limits else ""
        free = self._known.get(key)
        if free is None:
            free = self._known[key] = pool.free(lane)
        return free
