"""Reads the streams: hints of work that sessions here have credit for, and messages to this coordinator."""

from __future__ import annotations

import asyncio

import structlog

from aiki_server.core.runs import Hint
from aiki_server.rpc.hub import Hub
from aiki_server.store.errors import StoreError

BLOCK_MS = 1000
READ_MAX = 100
RETRY_SECONDS = 0.5
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


async def read_hints(hub: Hub) -> None:
    """Turn hints into grants while there is credit, until cancelled.

    What was read and found no credit is kept until there is some; nothing more is read before.
    """
    kept: list[tuple[Hint, tuple[str, str, str]]] = []
    while True:
        try:
            async with hub.stores.queues.reader(coordinator_id=hub.coordinator_id) as reader:
                while True:
                    hub.credit_came.clear()
                    kept = [(hint, what) for hint, what in kept if not _act(hub, hint, what)]
                    streams = {} if kept else _streams(hub)
                    if not streams:
                        await hub.credit_came.wait()
                        continue
                    hints = await reader.read(streams, count=READ_MAX, block_ms=BLOCK_MS)
                    kept = [(hint, streams[hint.stream]) for hint in hints]
        except StoreError as error:
            log.warning("queues cannot be read", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)


def _streams(hub: Hub) -> dict[str, tuple[str, str, str]]:
    """The streams somebody here has credit for, by name: namespace, queue, handler."""
    found: dict[str, tuple[str, str, str]] = {}
    for session in hub.sessions.values():
        handlers = (*session.run_handlers,) if session.free_runs > 0 else ()
        handlers += (*session.task_handlers,) if session.free_tasks > 0 else ()
        for queue in session.queues:
            for handler in handlers:
                what = (session.namespace, queue, handler)
                found[hub.stores.queues.stream(namespace=what[0], queue=queue, handler=handler)] = what
    return found


def _act(hub: Hub, hint: Hint, what: tuple[str, str, str]) -> bool:
    """Grant what the hint names; false when nobody here has credit for it."""
    session = hub.pick_for_hint(hint.run_id, *what, tasks=bool(hint.address))
    if session is None:
        return False
    hub.when_done(hub.stores.queues.done([hint]), lambda _: None)
    if hint.address:
        hub.take(session, hint.run_id, hint.address)
    else:
        hub.grant(session, hint.run_id)
    return True
