"""Throughput and latency of the spine, with fsync on every commit.

Real processes: a coordinator, its embedded Valkey, one worker, and this client. Each figure is the
median of several rounds; a machine that does other work shows in the spread.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from aiki_sdk import Client
from benchmarks.workflows import parallel, sequential
from examples.local_cluster import LocalCluster

WARM_UP_RUNS = 50


async def throughput(client: Client, runs: int, steps: int) -> float:
    """Steps a second with *runs* sequential runs at once."""
    begin = time.perf_counter()
    handles = await asyncio.gather(*(client.start(sequential, steps) for _ in range(runs)))
    totals = await asyncio.gather(*(handle.result() for handle in handles))
    seconds = time.perf_counter() - begin
    expected = sum(range(steps))
    if any(total != expected for total in totals):
        message = "a run returned a wrong result"
        raise RuntimeError(message)
    return runs * steps / seconds


async def fan_out(client: Client, steps: int) -> float:
    """Steps a second of one run that takes *steps* steps at once."""
    begin = time.perf_counter()
    run = await client.start(parallel, steps)
    await run.result()
    return steps / (time.perf_counter() - begin)


async def lone_step_ms(client: Client, steps: int) -> float:
    """Milliseconds a step of one sequential run, nothing else going on."""
    begin = time.perf_counter()
    run = await client.start(sequential, steps)
    await run.result()
    return (time.perf_counter() - begin) * 1000 / steps


async def start_to_result_ms(client: Client, samples: int) -> list[float]:
    """Milliseconds from start to result of one-step runs, one after the other."""
    latencies: list[float] = []
    for _ in range(samples):
        begin = time.perf_counter()
        run = await client.start(sequential, 1)
        await run.result()
        latencies.append((time.perf_counter() - begin) * 1000)
    return latencies


class CpuMeter:
    """CPU time of each process of the cluster, its children by their own names."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.processes = {"client": psutil.Process()}
        for name in cluster.processes:
            process = psutil.Process(cluster.pid(name))
            self.processes[name] = process
            for child in process.children(recursive=True):
                if "valkey" in child.name():
                    self.processes["valkey"] = child

    def read(self) -> dict[str, float]:
        """CPU seconds used so far, by process."""
        times = {name: process.cpu_times() for name, process in self.processes.items()}
        return {name: spent.user + spent.system for name, spent in times.items()}


async def measure(cluster: LocalCluster, options: argparse.Namespace, console: Console) -> None:
    """Run every measurement and print one table."""
    async with Client.connect(cluster.address) as client:
        await throughput(client, WARM_UP_RUNS, 5)
        meter = CpuMeter(cluster)
        before = meter.read()
        rates = [await throughput(client, options.runs, options.steps) for _ in range(options.rounds)]
        spent = {name: after - before[name] for name, after in meter.read().items()}
        fan_outs = [await fan_out(client, options.parallel) for _ in range(options.rounds)]
        lone = [await lone_step_ms(client, 200) for _ in range(options.rounds)]
        latencies = await start_to_result_ms(client, options.samples)
    cuts = statistics.quantiles(latencies, n=100)
    steps = options.runs * options.steps * options.rounds
    table = Table("figure", "value", "spread", title="Aiki on this machine, fsync on every commit")
    table.add_row(f"steps/s, {options.runs} runs of {options.steps} at once", *_summary(rates))
    table.add_row(f"steps/s, one run of {options.parallel} at once", *_summary(fan_outs))
    table.add_row("ms a step, one sequential run", *_summary(lone, 2))
    table.add_row(
        "start to result, p50 / p99 ms", f"{cuts[49]:.1f} / {cuts[98]:.1f}", f"{options.samples} runs"
    )
    for name, seconds in spent.items():
        table.add_row(f"CPU ms a step, {name}", f"{seconds * 1000 / steps:.3f}", "")
    console.print(table)


def _summary(values: Sequence[float], digits: int = 0) -> tuple[str, str]:
    return (
        f"{statistics.median(values):,.{digits}f}",
        f"{min(values):,.{digits}f} - {max(values):,.{digits}f}",
    )


def main() -> None:
    """Parse the options, start the cluster, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="runs at once (default 500)")
    parser.add_argument("--steps", type=int, default=100, help="steps of each run (default 100)")
    parser.add_argument("--parallel", type=int, default=2000, help="steps of the fan-out (default 2000)")
    parser.add_argument("--samples", type=int, default=300, help="one-step runs timed (default 300)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each figure (default 3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder, LocalCluster(Path(folder)) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", "benchmarks.workflows", slots=max(options.runs, options.parallel))
        asyncio.run(measure(cluster, options, Console()))


if __name__ == "__main__":
    main()
