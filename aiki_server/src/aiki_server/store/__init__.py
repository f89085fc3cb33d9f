"""The store: everything Aiki knows, in Redis or Valkey.

`open_store(settings)` connects, checks that the store is safe, and yields `Stores`. Nothing else of the
server touches Redis.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiki_server.store.clock import Clock
from aiki_server.store.connection import Address
from aiki_server.store.flusher import Flusher
from aiki_server.store.listing import ListingStore
from aiki_server.store.queues import QueueStore, StreamReader
from aiki_server.store.runs import RunStore
from aiki_server.store.scripts import all_scripts
from aiki_server.store.sessions import SessionStore
from aiki_server.store.sweep import SweepStore
from aiki_server.store.tasks import TaskStore
from aiki_server.store.timers import TimerStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Clock", "StoreSettings", "Stores", "StreamReader", "open_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How to reach the store. `url`: redis://, rediss:// or unix:///PATH; password and db in it.

    `durability` is "fsync" or "local" (design §8). `partitions` is fixed when a cluster is created.
    """

    url: str
    partitions: int = 64
    durability: str = "fsync"
    allow_unsafe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    runs: RunStore
    tasks: TaskStore
    timers: TimerStore
    sessions: SessionStore
    queues: QueueStore
    listing: ListingStore
    sweep: SweepStore
    clock: Clock
    flusher: Flusher
    partitions: int


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncGenerator[Stores]:
    """Connect and check.

    Raises:
        ValueError: the URL is none.
        StoreUnavailableError: it cannot be reached now.
        StoreUnsafeError: it would lose acknowledged work, or is another cluster's.
    """
    address = Address.parse(settings.url)
    clock = Clock()
    flusher = Flusher(address, [script.text for script in all_scripts()])
    running = asyncio.ensure_future(flusher.run())
    try:
        runs = RunStore(flusher, clock, settings.partitions)
        yield Stores(
            runs=runs,
            tasks=TaskStore(),
            timers=TimerStore(),
            sessions=SessionStore(),
            queues=QueueStore(),
            listing=ListingStore(),
            sweep=SweepStore(),
            clock=clock,
            flusher=flusher,
            partitions=settings.partitions,
        )
    finally:
        running.cancel()
        await asyncio.wait({running})
