"""A storm of reconnecting workers: all sessions of a coordinator lose it at once, and it comes back.

The sessions are the worker's own, without anything behind them, in this process; the coordinator and its store
are real processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import psutil

from aiki.v1 import worker_pb2
from aiki_client.coordinators import Coordinators
from aiki_worker import messages
from aiki_worker.clock import StoreClock
from aiki_worker.lines import Lines
from aiki_worker.session import Identity, Session
from examples.local_cluster import LocalCluster

CREDIT = worker_pb2.Credit(runs_total=10, tasks_total=10)
GIVE_UP_SECONDS = 120.0
LEASE_TTL = "60s"


@dataclass(frozen=True, slots=True)
class Storm:
    """What it cost. Seconds of CPU and MiB of memory are the coordinator's.

    Attributes:
        first_s: until all were welcomed for the first time.
        back_s: from the coordinator's return until all were welcomed again.
        back_cpu_s: what that took.
        idle_cpu: cores that the coordinator uses while all of them do nothing.
        lost: sessions that had to begin anew.
    """

    sessions: int
    first_s: float
    back_s: float
    back_cpu_s: float
    memory_mib: float
    idle_cpu: float
    lost: int


class _Crowd:
    """Many sessions."""

    def __init__(self, address: str, count: int) -> None:
        self.connected = 0
        self.lost = 0
        self._moved = asyncio.Event()
        self.sessions = [self._session(address, number) for number in range(count)]

    def _session(self, address: str, number: int) -> Session:
        identity = Identity(
            namespace="default",
            session_id=f"{number:016x}",
            identity=f"crowd-{number}",
            build_id="build",
            queues=["default"],
            workflows=[("flow", "1")],
            tasks=["job"],
            slots=10,
        )
        lines = Lines(Coordinators([address]))
        session = Session(lines, identity, StoreClock(), lambda batch: self._deliver(session, batch))
        return session

    def _deliver(self, session: Session, batch: list[messages.Inbound]) -> None:
        for message in batch:
            if isinstance(message, messages.Connected):
                self.connected += 1
                session.submit(message.stream, [worker_pb2.WorkerMessage(credit=CREDIT)])
                session.wake()
            elif isinstance(message, messages.SessionLost):
                self.lost += 1
        self._moved.set()

    async def wait(self, times: int) -> float:
        """Until each was welcomed so many times; the seconds it took.

        Raises:
            TimeoutError: some were not.
        """
        begin = time.monotonic()
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while self.connected < times * len(self.sessions):
                self._moved.clear()
                await self._moved.wait()
        return time.monotonic() - begin


@contextlib.asynccontextmanager
async def _running(crowd: _Crowd) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(session.run()) for session in crowd.sessions]
        yield
        for task in tasks:
            task.cancel()


async def storm(folder: Path, count: int, idle_seconds: float) -> Storm:
    """*count* sessions; the coordinator is killed and started again."""
    with LocalCluster(folder, lease_ttl=LEASE_TTL) as cluster:
        address = await asyncio.to_thread(cluster.start_coordinator)
        crowd = _Crowd(address, count)
        async with _running(crowd):
            first_s = await crowd.wait(1)
            await asyncio.to_thread(cluster.kill, "coordinator")
            await asyncio.to_thread(cluster.start_coordinator, listen=address)
            process = psutil.Process(cluster.pid("coordinator"))
            before = sum(process.cpu_times()[:2])
            back_s = await crowd.wait(2)
            back_cpu_s = sum(process.cpu_times()[:2]) - before
            memory_mib = process.memory_info().rss / 2**20
            idle_from = sum(process.cpu_times()[:2])
            await asyncio.sleep(idle_seconds)
            idle_cpu = (sum(process.cpu_times()[:2]) - idle_from) / idle_seconds
    return Storm(count, first_s, back_s, back_cpu_s, memory_mib, idle_cpu, crowd.lost)
