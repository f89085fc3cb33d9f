"""What a cluster costs as it grows: workers, coordinators, sessions that come back at once, runs that wait.

Real processes on one machine: with few cores the throughput shows where they are used up, and the CPU time of a
step what each more worker and coordinator adds.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import psutil
from rich.console import Console
from rich.table import Table

from aiki.v1 import admin_pb2, admin_pb2_grpc
from aiki_sdk import Client
from aiki_server.store.address import Address
from aiki_server.store.connection import connect_caller
from aiki_server.store.embedded import EmbeddedValkey
from benchmarks.storm import storm
from benchmarks.workflows import parked, sequential
from examples.local_cluster import LocalCluster

MODULE = "benchmarks.workflows"
WORKERS: Sequence[tuple[int, int]] = ((1, 1), (2, 1), (4, 1), (8, 1))
COORDINATORS: Sequence[tuple[int, int]] = ((4, 1), (4, 2), (4, 4))
READY_SECONDS = 60.0
LOOK_SECONDS = 0.1
LEASE_TTL = "10s"
STARTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one size. CPU is milliseconds for each step."""

    workers: int
    coordinators: int
    steps_s: float
    coordinators_ms: float
    workers_ms: float
    store_ms: float
    idle_coordinators: float
    idle_commands_s: float


class _Cluster:
    """Running processes on a store of their own."""

    def __init__(self, cluster: LocalCluster, store: EmbeddedValkey, addresses: Sequence[str]) -> None:
        self.store = store
        self.addresses = addresses
        self._processes = {name: psutil.Process(cluster.pid(name)) for name in cluster.processes}
        self._processes["store"] = psutil.Process(store.server_pid)

    def cpu_s(self, kind: str) -> float:
        """CPU seconds so far of the processes whose names begin so."""
        times = [process.cpu_times() for name, process in self._processes.items() if name.startswith(kind)]
        return sum(spent.user + spent.system for spent in times)

    async def info(self, name: str) -> int:
        """A figure of the store's INFO."""
        caller = await connect_caller(Address.parse(self.store.url))
        try:
            told: bytes = await caller.call("INFO")
        finally:
            caller.connection.abort()
        found = [line for line in told.decode().splitlines() if line.startswith(f"{name}:")]
        return int(found[0].partition(":")[2])

    async def wait_until(self, holds: Callable[[admin_pb2.ShowClusterResponse], bool]) -> None:
        """Until the picture of the cluster is so."""
        async with asyncio.timeout(READY_SECONDS), grpc.aio.insecure_channel(self.addresses[0]) as channel:
            stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(channel)
            while True:
                picture = await stub.ShowCluster(admin_pb2.ShowClusterRequest())
                if holds(picture):
                    return
                await asyncio.sleep(LOOK_SECONDS)


async def start(stack: AsyncExitStack, folder: Path, workers: int, coordinators: int) -> _Cluster:
    """Start so many of each."""
    store = await stack.enter_async_context(EmbeddedValkey(folder / "store"))
    cluster = stack.enter_context(LocalCluster(folder / "cluster", lease_ttl=LEASE_TTL))
    addresses = [
        await asyncio.to_thread(
            cluster.start_coordinator, f"coordinator-{number}", options=("--store", store.url)
        )
        for number in range(coordinators)
    ]
    for number in range(workers):
        # In turn, so that each coordinator has its share.
        cluster.address = addresses[number % coordinators]
        cluster.start_worker(f"worker-{number}", MODULE, slots=100)
    started = _Cluster(cluster, store, addresses)
    await started.wait_until(
        lambda picture: sum(len(view.sessions) for view in picture.coordinators) == workers
    )
    return started


async def cost_of(folder: Path, workers: int, coordinators: int, options: argparse.Namespace) -> Cost:
    """Sequential runs of local steps, spread over all coordinators; then nothing for a while."""
    async with AsyncExitStack() as stack:
        cluster = await start(stack, folder, workers, coordinators)
        clients = [await stack.enter_async_context(Client.connect(address)) for address in cluster.addresses]
        await _throughput(clients, 10 * workers, 5)
        kinds = ("coordinator", "worker", "store")
        before = {kind: cluster.cpu_s(kind) for kind in kinds}
        steps_s = await _throughput(clients, options.runs, options.steps)
        spent = {kind: cluster.cpu_s(kind) - before[kind] for kind in kinds}
        steps = options.runs * options.steps
        idle_from, commands = cluster.cpu_s("coordinator"), await cluster.info("total_commands_processed")
        await asyncio.sleep(options.idle)
        idle = cluster.cpu_s("coordinator") - idle_from
        commands = await cluster.info("total_commands_processed") - commands
    return Cost(
        workers=workers,
        coordinators=coordinators,
        steps_s=steps_s,
        coordinators_ms=spent["coordinator"] * 1000 / steps,
        workers_ms=spent["worker"] * 1000 / steps,
        store_ms=spent["store"] * 1000 / steps,
        idle_coordinators=idle / options.idle / coordinators,
        idle_commands_s=commands / options.idle / coordinators,
    )


async def _throughput(clients: Sequence[Client], runs: int, steps: int) -> float:
    begin = time.perf_counter()
    handles = await asyncio.gather(
        *(clients[number % len(clients)].start(sequential, steps) for number in range(runs))
    )
    await asyncio.gather(*(handle.result() for handle in handles))
    return runs * steps / (time.perf_counter() - begin)


async def bytes_a_waiting_run(folder: Path, runs: int) -> float:
    """What a run that waits for a signal takes of the store's memory."""
    async with AsyncExitStack() as stack:
        cluster = await start(stack, folder, 1, 1)
        client = await stack.enter_async_context(Client.connect(*cluster.addresses))
        await _park(cluster, client, STARTS_AT_ONCE)
        before = await cluster.info("used_memory")
        await _park(cluster, client, runs)
        return (await cluster.info("used_memory") - before) / runs


async def _park(cluster: _Cluster, client: Client, count: int) -> None:
    """So many runs more that have begun to wait."""
    for _ in range(0, count, STARTS_AT_ONCE):
        await asyncio.gather(*(client.start(parked) for _ in range(STARTS_AT_ONCE)))
    await cluster.wait_until(
        lambda picture: (
            not picture.backlog
            and not any(session.runs_held for view in picture.coordinators for session in view.sessions)
        )
    )


def table_of(costs: Sequence[Cost]) -> Table:
    """One line for each size."""
    columns = (
        "workers",
        "coordinators",
        "steps/s",
        "coordinators",
        "workers",
        "store",
        "sum",
        "idle",
        "commands/s",
    )
    table = Table(
        *columns, title="Steps a second; CPU ms a step; an idle coordinator: cores, commands a second"
    )
    for cost in costs:
        cpu = (cost.coordinators_ms, cost.workers_ms, cost.store_ms)
        table.add_row(
            str(cost.workers),
            str(cost.coordinators),
            f"{cost.steps_s:,.0f}",
            *(f"{ms:.3f}" for ms in (*cpu, sum(cpu))),
            f"{cost.idle_coordinators:.3f}",
            f"{cost.idle_commands_s:.0f}",
        )
    return table


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="runs at once (default 400)")
    parser.add_argument("--steps", type=int, default=50, help="steps of each run (default 50)")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds of idling (default 5)")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions of the storm (default 1000)")
    parser.add_argument("--parked", type=int, default=10_000, help="runs that wait (default 10,000)")
    options = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="aiki-scaling-") as folder:
        costs: list[Cost] = []
        for workers, coordinators in (*WORKERS, *COORDINATORS):
            at = Path(folder) / f"{workers}-{coordinators}-{len(costs)}"
            costs.append(asyncio.run(cost_of(at, workers, coordinators, options)))
        console.print(table_of(costs))
        came = asyncio.run(storm(Path(folder) / "storm", options.sessions, options.idle))
        console.print(
            f"storm of {came.sessions} sessions: all back {came.back_s:.1f} s after the coordinator, for "
            f"{came.back_cpu_s:.1f} s of its CPU and {came.memory_mib:.0f} MiB; idle {came.idle_cpu:.3f} cores; "
            f"{came.lost} sessions lost"
        )
        size = asyncio.run(bytes_a_waiting_run(Path(folder) / "parked", options.parked))
        console.print(f"a run that waits for a signal: {size:,.0f} bytes of the store's memory")


if __name__ == "__main__":
    main()
