"""What work stealing is worth: eight workers, one of which is given every task at once.

A coordinator and its store in processes of their own; the workers are sessions of this process, since their tasks
only sleep. The first has `prefetch` enough to be given all tasks before the others connect. The same sizes, from
one seed, are run with stealing and with the server setting `stealing=false`.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aiki_sdk import Client, task, workflow
from aiki_task.task import Task
from aiki_worker import Worker, load_settings
from aiki_worker.handlers import Handlers
from examples.local_cluster import LocalCluster

FIRST = "worker-1"
POLL_SECONDS = 0.05


@task(remote=True, timeout="1h")
async def nap(number: int, seconds: float) -> int:
    """What the workers below do in its place; the run only sends it to the queue."""
    raise NotImplementedError


@workflow(version="1")
async def naps(sizes: list[float]) -> int:
    """All of them at once."""
    return len(await asyncio.gather(*(nap(number, size) for number, size in enumerate(sizes))))


@dataclass
class Diary:
    """Who did what, how long."""

    busy_s: dict[str, float] = field(default_factory=dict[str, float])
    times: dict[int, int] = field(default_factory=dict[int, int])
    begun_s: float = 0.0
    over_s: float = 0.0

    def sleeper(self, worker: str) -> Task[..., Any]:
        """The task as that worker does it."""
        self.busy_s[worker] = 0.0

        @task(name="nap", timeout="1h")
        async def doze(number: int, seconds: float) -> int:
            begun_s = time.perf_counter()
            self.times[number] = self.times.get(number, 0) + 1
            await asyncio.sleep(seconds)
            self.over_s = time.perf_counter()
            self.busy_s[worker] += self.over_s - begun_s
            return number

        return doze


@asynccontextmanager
async def working(address: str, name: str, handlers: Handlers, **settings: Any) -> AsyncGenerator[None]:
    """A worker on this loop."""
    worker = Worker(handlers, load_settings(address=address, identity=name, grace="1s", **settings))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(worker.run())
        yield
        worker.stop()
        await running


async def measure(address: str, sizes: list[float], options: argparse.Namespace) -> Diary:
    """Give everything to the first worker, then have the others join."""
    diary = Diary()
    planner = Handlers(workflows={("naps", "1"): naps}, tasks={}, build_id="bench")

    def handlers(name: str) -> Handlers:
        return Handlers(workflows={}, tasks={"nap": diary.sleeper(name)}, build_id="bench")

    async with (
        Client.connect(address) as client,
        working(address, "planner", planner),
        working(address, FIRST, handlers(FIRST), slots=options.slots, prefetch=len(sizes)),
    ):
        run = await client.start(naps, sizes)
        while sum(one.worker == FIRST for one in (await run.describe()).tasks) < min(len(sizes), 900):  # noqa: ASYNC110  the cluster tells nobody
            await asyncio.sleep(POLL_SECONDS)
        diary.begun_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            joined = [
                group.create_task(_join(address, f"worker-{number}", handlers, options, run))
                for number in range(2, options.workers + 1)
            ]
            await run.result()
            for one in joined:
                await one
    return diary


async def _join(address: str, name: str, handlers: Any, options: argparse.Namespace, run: Any) -> None:
    async with working(address, name, handlers(name), slots=options.slots):
        await run.result()


def sizes_of(options: argparse.Namespace) -> list[float]:
    """Unequal, half of `--seconds` to one and a half, half a second on average."""
    dice = random.Random(options.seed)
    return [options.seconds * dice.uniform(0.2, 1.8) for _ in range(options.tasks)]


def main() -> None:
    """Parse the options; each way has a cluster of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a task, on average (default 0.5)")
    parser.add_argument("--slots", type=int, default=8, help="of each worker (default 8)")
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    sizes = sizes_of(options)
    table = Table(
        "stealing",
        "wall time",
        "busy time per worker: least, median, most",
        "standard deviation",
        "tasks run",
        title=f"{options.tasks} tasks of {options.seconds:g} s on average, given to one of {options.workers} "
        f"workers with {options.slots} slots; at best {sum(sizes) / options.workers / options.slots:.1f} s",
    )
    for stealing in ("true", "false"):
        with (
            tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder,
            LocalCluster(Path(folder)) as cluster,
        ):
            cluster.start_coordinator(environment={"AIKI_SERVER_STEALING": stealing})
            diary = asyncio.run(measure(cluster.address, sizes, options))
        busy = sorted(diary.busy_s.values())
        twice = sum(count > 1 for count in diary.times.values())
        table.add_row(
            {"true": "on", "false": "off"}[stealing],
            f"{diary.over_s - diary.begun_s:.1f} s",
            f"{busy[0]:.1f} s, {statistics.median(busy):.1f} s, {busy[-1]:.1f} s",
            f"{statistics.pstdev(busy):.1f} s",
            f"{len(diary.times)}, {twice} of them twice",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
