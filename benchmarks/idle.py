"""What coordinators cost when nothing happens: CPU, and commands of the store by name.

Real processes on a store of their own; a worker that serves some handlers is connected, some runs are done and some
wait for a timer of days.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from aiki_sdk import Client, sleep, workflow
from aiki_server.store.embedded import EmbeddedValkey
from benchmarks.workflows import sequential
from examples.local_cluster import LocalCluster

RUNS = 200
SHOWN = 12


@workflow(version="1")
async def asleep() -> None:
    """Waits for long."""
    await sleep("3d")


async def calls(store: Redis) -> dict[str, int]:
    """How often each command was called so far, inside scripts too."""
    stats: Mapping[str, Any] = await store.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(told["calls"]) for name, told in stats.items()}


async def measure(url: str, cluster: LocalCluster, options: argparse.Namespace, console: Console) -> None:
    """Let the cluster have worked, wait until it is quiet, and look at it for a while."""
    async with Client.connect(cluster.address) as client:
        for _ in range(RUNS):
            await client.start(asleep)
        handles = [await client.start(sequential, 2) for _ in range(RUNS)]
        await asyncio.gather(*(handle.result() for handle in handles))
    await asyncio.sleep(options.settle)
    store: Redis = Redis.from_url(url)
    coordinators = [psutil.Process(cluster.pid(name)) for name in cluster.processes if name != "worker"]
    before, cpu_before, begin = await calls(store), _cpu_s(coordinators), time.perf_counter()
    await asyncio.sleep(options.seconds)
    after, cpu_after, seconds = await calls(store), _cpu_s(coordinators), time.perf_counter() - begin
    await store.aclose()
    rates = {name: (count - before.get(name, 0)) / seconds for name, count in after.items()}
    rates.pop("info", None)
    scripts = sum(rates.get(name, 0.0) for name in ("evalsha", "evalsha_ro", "eval"))
    table = Table("figure", "value", title=f"{len(coordinators)} idle coordinators, over {seconds:.0f} s")
    for number, (old, new) in enumerate(zip(cpu_before, cpu_after, strict=True), start=1):
        table.add_row(f"coordinator {number}, % of a core", f"{(new - old) / seconds * 100:.2f}")
    table.add_row("store commands/s, those inside scripts too", f"{sum(rates.values()):.1f}")
    table.add_row("of these scripts", f"{scripts:.1f}")
    for name, rate in sorted(rates.items(), key=lambda item: -item[1])[:SHOWN]:
        table.add_row(f"  {name}", f"{rate:.1f}")
    console.print(table)


def _cpu_s(processes: list[psutil.Process]) -> list[float]:
    return [spent.user + spent.system for spent in (process.cpu_times() for process in processes)]


async def _with_a_store(folder: Path, options: argparse.Namespace) -> None:
    async with EmbeddedValkey(folder / "store") as valkey:
        with LocalCluster(folder, lease_ttl="10s") as cluster:
            for number in range(options.coordinators):
                cluster.start_coordinator(f"coordinator-{number}", options=("--store", valkey.url))
            cluster.start_worker("worker", "benchmarks.idle", options=("benchmarks.workflows",))
            await measure(valkey.url, cluster, options, Console())


def main() -> None:
    """Parse the options, start everything, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coordinators", type=int, default=2, help="(default 2)")
    parser.add_argument("--seconds", type=float, default=30.0, help="looked at (default 30)")
    parser.add_argument("--settle", type=float, default=10.0, help="waited before (default 10)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder:
        asyncio.run(_with_a_store(Path(folder), options))


if __name__ == "__main__":
    main()
