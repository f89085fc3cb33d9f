"""Reads the streams: hints of work that sessions here have credit for, and messages to this coordinator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import structlog

from aiki_server.core.runs import Attention, Hint, TaskAttention
from aiki_server.rpc.hub import Hub
from aiki_server.store import StreamReader
from aiki_server.store.errors import StoreError

BLOCK_MS = 1000
READ_MAX = 100
RETRY_SECONDS = 0.5
CLAIM_SECONDS = 2.0
CLAIM_IDLE_MS = 2_000
"""An entry that was read this long ago and not granted is read again by whoever has credit."""
INTERRUPT_SECONDS = 0.005
"""A read that was sent and does not block yet is interrupted again after this."""
FIRST = "0-0"
log = structlog.get_logger(__name__)

Work = tuple[str, str, str]
"""Namespace, queue and handler of a stream."""


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
    """What is known of one stream: hints read for which there was no credit, and where claiming stands."""

    work: Work
    kept: list[Hint] = field(default_factory=list[Hint])
    cursor: str = FIRST


class Hints:
    """Turns hints into grants while there is credit.

    What was read and found no credit is kept, and its stream is not read on before that is gone; what
    nobody here serves any more is let go, for another coordinator to claim.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._streams: dict[str, _Stream] = {}
        self._claim_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with self._hub.stores.queues.reader(coordinator_id=self._hub.coordinator_id) as reader:
                    while True:
                        await self._round(reader)
            except* StoreError as errors:
                log.warning("queues cannot be read", reason=str(errors.exceptions[0]))
            await asyncio.sleep(RETRY_SECONDS)

    async def _round(self, reader: StreamReader) -> None:
        self._hub.matching.credit_came.clear()
        credit = self._look()
        if not credit:
            await self._hub.matching.credit_came.wait()
            return
        if time.monotonic() >= self._claim_at:
            self._claim_at = time.monotonic() + CLAIM_SECONDS
            await self._claim(credit)
        async with asyncio.TaskGroup() as group:
            count = min(READ_MAX, *credit.values())
            reading = group.create_task(reader.read(credit, count=count, block_ms=BLOCK_MS))
            watching = group.create_task(self._interrupt_for_more(reader, credit))
            for hint in await reading:
                self._take(hint)
            watching.cancel()

    def _look(self) -> dict[str, int]:
        """Act on what was kept; the streams to read now, and the credit there is for each."""
        served = _served(self._hub)
        self._streams = {name: self._streams.get(name) or _Stream(work) for name, (work, _) in served.items()}
        for stream in self._streams.values():
            stream.kept = [hint for hint in stream.kept if not self._act(hint, stream.work)]
        return {name: free for name, (_, free) in served.items() if free > 0 and not self._streams[name].kept}

    async def _interrupt_for_more(self, reader: StreamReader, reading: Collection[str]) -> None:
        """While a read blocks: credit for a stream that it leaves out ends it."""
        while True:
            await self._hub.matching.credit_came.wait()
            self._hub.matching.credit_came.clear()
            if not self._look().keys() <= set(reading):
                while not await reader.interrupt():  # noqa: ASYNC110  the store tells nobody that a read blocks
                    await asyncio.sleep(INTERRUPT_SECONDS)
                return

    async def _claim(self, names: Iterable[str]) -> None:
        """Take over what others, or this one before, have read and not granted."""
        for name in names:
            stream = self._streams[name]
            stream.cursor, hints = await self._hub.stores.queues.claim(
                stream=name,
                consumer=self._hub.coordinator_id,
                idle_ms=CLAIM_IDLE_MS,
                cursor=stream.cursor,
                count=READ_MAX,
            )
            for hint in hints:
                self._take(hint)

    def _take(self, hint: Hint) -> None:
        stream = self._streams.get(hint.stream)
        # One that nobody here serves any more is claimed by others.
        if stream is not None and not self._act(hint, stream.work):
            stream.kept.append(hint)

    def _act(self, hint: Hint, work: Work) -> bool:
        """Grant what the hint names; false when nobody here has credit for it."""
        hub = self._hub
        session = hub.matching.pick_for_hint(hint.run_id, *work, tasks=bool(hint.address))
        if session is None and hub.draining.is_set():
            # For another coordinator, at once: it would claim this only when it is old.
            hub.when_done(hub.stores.queues.hint(_about(hint, work)), lambda _: self._done(hint))
            return True
        if session is None:
            return False
        self._done(hint)
        if hint.address:
            hub.matching.take(session, hint.run_id, hint.address)
        else:
            hub.matching.grant(session, hint.run_id)
        return True

    def _done(self, hint: Hint) -> None:
        self._hub.when_done(self._hub.stores.queues.done([hint]), lambda _: None)


def _about(hint: Hint, work: Work) -> Attention | TaskAttention:
    namespace, queue, handler = work
    if hint.address:
        return TaskAttention(hint.run_id, hint.address, namespace, queue, handler)
    return Attention(hint.run_id, namespace, queue, handler, None, "", stalled=False, fresh=False)


def _served(hub: Hub) -> dict[str, tuple[Work, int]]:
    """The streams that sessions here serve, by name, and the credit there is for each."""
    found: dict[str, tuple[Work, int]] = {}
    for session in hub.sessions.values():
        for handlers, free in (
            (session.run_handlers, session.free_runs),
            (session.task_handlers, session.free_tasks),
        ):
            for queue in session.queues:
                for handler in handlers:
                    work = (session.namespace, queue, handler)
                    name = hub.stores.queues.stream(namespace=work[0], queue=queue, handler=handler)
                    found[name] = (work, found.get(name, (work, 0))[1] + max(free, 0))
    return found
