"""The store: everything Aiki knows, in Redis or Valkey.

`open_store(settings)` connects, checks that the store is safe, and yields `Stores`. Nothing else of the
server touches Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from aiki_server.store import keys
from aiki_server.store.address import Kind, Target
from aiki_server.store.branching import BranchStore
from aiki_server.store.clock import Clock
from aiki_server.store.cluster import Cluster
from aiki_server.store.control import ControlStore
from aiki_server.store.deadlines import DeadlineStore
from aiki_server.store.errors import StoreError, StoreUnavailableError, StoreUnsafeError
from aiki_server.store.failovers import Failovers
from aiki_server.store.fence import Fence
from aiki_server.store.flusher import Flusher
from aiki_server.store.guard import Guard
from aiki_server.store.letters import LetterStore
from aiki_server.store.listing import ListingStore
from aiki_server.store.logs import LogStore
from aiki_server.store.observed import ObservationStore
from aiki_server.store.pictures import PictureStore
from aiki_server.store.queues import QueueStore
from aiki_server.store.reader import StreamReader
from aiki_server.store.runs import RunStore
from aiki_server.store.scripts import all_scripts
from aiki_server.store.sentinel import Sentinels
from aiki_server.store.sessions import SessionStore
from aiki_server.store.sweep import SweepStore
from aiki_server.store.tasks import TaskStore
from aiki_server.store.timers import TimerStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator

    from aiki_server.store.calls import Router

__all__ = ["Clock", "StoreHealth", "StoreSettings", "Stores", "StreamReader", "open_store"]

TIME_SECONDS: Final = 5.0
GUARD_SECONDS: Final = 30.0
SILENT_SECONDS: Final = 3.0
PARTITIONS: Final = 64
PARTITIONS_OF_CLUSTER: Final = 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How to reach the store. `url`: one of `address.FORMS`; `user` and `password` win over those in it.

    `durability` is "fsync", "replicated" (by `replicas` of each node) or "local"; docs/stores.md says what each can
    lose. `partitions` is fixed when a cluster is created; None: as many as suit the kind of store.
    `allow_unsafe` serves on a store that can lose acknowledged work.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    partitions: int | None = None
    durability: str = "fsync"
    replicas: int = 1
    allow_unsafe: bool = False
    connect_seconds: float = 10.0


class StoreHealth:
    """What is wrong with the store now: `problems` has a sentence each, none when it is safe and reachable."""

    def __init__(self, flusher: Router) -> None:
        self._flusher = flusher
        self.unsafe: list[str] = []
        self.is_nearly_full = False
        self._asked_at: float | None = None

    @property
    def problems(self) -> list[str]:
        if self._flusher.problem is not None:
            return [str(self._flusher.problem), *self.unsafe]
        silent_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        silent = [f"The store has not answered for {silent_s:.0f} s."] if silent_s > SILENT_SECONDS else []
        return silent + self.unsafe

    @contextlib.contextmanager
    def asking(self) -> Generator[None]:
        """While an answer is waited for: one that hangs has a connection and is of no use."""
        self._asked_at = time.monotonic()
        try:
            yield
        finally:
            self._asked_at = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """One store. `clock` follows it while this is open, and `health` is kept up to date."""

    runs: RunStore
    tasks: TaskStore
    timers: TimerStore
    sessions: SessionStore
    queues: QueueStore
    listing: ListingStore
    sweep: SweepStore
    control: ControlStore
    branching: BranchStore
    deadlines: DeadlineStore
    observed: ObservationStore
    pictures: PictureStore
    logs: LogStore
    letters: LetterStore
    clock: Clock
    health: StoreHealth
    flusher: Router
    failovers: Failovers
    partitions: int
    cluster_id: str


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncGenerator[Stores]:
    """Connect and check.

    Raises:
        ValueError: the URL is none.
        StoreUnavailableError: it cannot be reached now.
        StoreUnsafeError: it would lose acknowledged work, or is another cluster's.
    """
    clock = Clock()
    failovers = Failovers()
    target = Target.parse(settings.url, user=settings.user, password=settings.password)
    partitions = settings.partitions or (PARTITIONS_OF_CLUSTER if target.kind is Kind.CLUSTER else PARTITIONS)
    flusher, watching = _router(target, settings, failovers)
    guard = Guard(
        flusher,
        partitions=partitions,
        durability=settings.durability,
        replicas=settings.replicas,
    )
    health = StoreHealth(flusher)
    tasks = [asyncio.ensure_future(part) for part in (flusher.run(), *watching)]
    try:
        await _connected(flusher, settings.connect_seconds)
        await _follow(flusher, clock)
        await _check(guard, health, settings)
        health.is_nearly_full = await guard.is_nearly_full()
        if health.unsafe:
            raise StoreUnsafeError(health.unsafe)
        tasks.append(asyncio.ensure_future(_keep(flusher, clock, guard, health, settings)))
        failovers.opened()
        yield _stores(flusher, clock, health, partitions, guard.cluster_id, failovers)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _router(
    target: Target, settings: StoreSettings, failovers: Failovers
) -> tuple[Router, list[Coroutine[None, None, None]]]:
    """What sends calls, and what has to run beside it."""
    scripts = [script.text for script in all_scripts()]
    replicas = settings.replicas if settings.durability == "replicated" else 0
    if target.kind is Kind.CLUSTER:
        return Cluster(target, scripts, replicas=replicas, failovers=failovers), []
    fence = Fence(replicas, keys.PULSE) if replicas else None
    address = target.addresses[0]
    if target.kind is Kind.NODE:
        return Flusher(address, scripts, fence=fence, failovers=failovers), []
    sentinels = Sentinels(target)
    flusher = Flusher(address, scripts, find=sentinels.find, fence=fence, failovers=failovers)
    return flusher, [sentinels.follow(flusher)]


def _stores(
    flusher: Router,
    clock: Clock,
    health: StoreHealth,
    partitions: int,
    cluster_id: str,
    failovers: Failovers,
) -> Stores:
    return Stores(
        runs=RunStore(flusher, clock, partitions),
        tasks=TaskStore(flusher, clock, partitions),
        timers=TimerStore(flusher, clock),
        sessions=SessionStore(flusher, clock),
        queues=QueueStore(flusher, clock),
        listing=ListingStore(flusher, partitions),
        sweep=SweepStore(flusher, clock),
        control=ControlStore(flusher, clock),
        branching=BranchStore(flusher, clock),
        deadlines=DeadlineStore(flusher, clock),
        observed=ObservationStore(flusher),
        pictures=PictureStore(flusher, partitions),
        logs=LogStore(flusher),
        letters=LetterStore(flusher),
        clock=clock,
        health=health,
        flusher=flusher,
        failovers=failovers,
        partitions=partitions,
        cluster_id=cluster_id,
    )


async def _connected(flusher: Router, within_seconds: float) -> None:
    """Wait for the connection, unless the store refuses us: that does not pass by itself."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_seconds):
            await flusher.settled.wait()
    if not flusher.connected.is_set():
        raise flusher.problem or StoreUnavailableError("the store does not answer")


async def _follow(flusher: Router, clock: Clock) -> None:
    seconds, micros = await flusher.submit(("TIME",), list[bytes])
    clock.heard(int(seconds) * 1000 + int(micros) / 1000)


async def _check(guard: Guard, health: StoreHealth, settings: StoreSettings) -> None:
    problems = await guard.check()
    if problems and settings.allow_unsafe:
        for problem in problems:
            log.warning("the store is unsafe, and allowed to be", problem=problem)
        problems = []
    try:
        if not problems:
            await guard.claim()
    except StoreUnsafeError as error:
        problems = error.problems
    health.unsafe = problems


async def _keep(
    flusher: Router, clock: Clock, guard: Guard, health: StoreHealth, settings: StoreSettings
) -> None:
    """Follow the store's clock and check that it stays safe, until cancelled."""
    loop = asyncio.get_running_loop()
    check_at = loop.time() + GUARD_SECONDS
    while True:
        await asyncio.sleep(TIME_SECONDS)
        try:
            with health.asking():
                await _follow(flusher, clock)
            health.is_nearly_full = await guard.is_nearly_full()
            if health.unsafe or loop.time() >= check_at:
                check_at = loop.time() + GUARD_SECONDS
                await _check(guard, health, settings)
        except StoreError as error:
            log.warning("the store cannot be checked", reason=str(error))
