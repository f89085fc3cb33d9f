"""Queues, priorities, labels and slots, with real coordinators and workers."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiki_client import Client, Run
from aiki_server.store.embedded import EmbeddedValkey
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import queue_workflows as flows

MODULE = "tests.system.queue_workflows"
WORKFLOWS = ("--serve", "workflows")
TASKS = ("--serve", "tasks")


@asynccontextmanager
async def two_coordinators(tmp_path: Path) -> AsyncGenerator[tuple[LocalCluster, str, str]]:
    """On one store; their addresses."""
    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster") as cluster:
            options = ("--store", store.url)
            one, two = (cluster.start_coordinator(name, options=options) for name in ("one", "two"))
            yield cluster, one, two


async def queued(run: Run[Any]) -> int:
    """How many of its tasks wait in a queue."""
    return sum(task.state == "queued" for task in (await run.describe()).tasks)


async def worker_of(run: Run[Any]) -> str:
    """Who ran its task."""
    return (await run.describe()).tasks[0].worker


async def test_priorities_share_a_worker_and_the_last_is_not_starved(tmp_path: Path) -> None:
    """Of a backlog at five priorities the first get more, and each gets something; runs hand theirs on to tasks."""
    log, times = tmp_path / "log", 40
    async with two_coordinators(tmp_path) as (cluster, one, two):
        cluster.address = one
        cluster.start_worker("holder", MODULE, options=WORKFLOWS)
        async with Client.connect(one) as client:
            runs = [
                await client.start(flows.noting.with_(id=f"p{priority}", priority=priority), str(log), times)
                for priority in range(5, 0, -1)
            ]

            async def all_wait() -> bool:
                return [await queued(run) for run in runs] == [times] * 5

            await eventually(all_wait, "all tasks wait")
            # The worker hangs on the other coordinator: what waits is shared by all.
            cluster.address = two
            cluster.start_worker("tasks", MODULE, slots=1, options=(*TASKS, "--queue", "work"))
            assert [await run.result(timeout="50s") for run in runs] == [times] * 5

    order = log.read_text(encoding="utf-8").split()
    early = Counter(order[:62])
    assert early["p1"] > early["p2"] > early["p3"] > early["p5"] > 0
    assert early["p1"] >= 25


async def test_required_labels_wait_for_a_worker_that_has_them(tmp_path: Path) -> None:
    """A run and a task, at a worker of another coordinator, soon after it connects."""
    async with two_coordinators(tmp_path) as (cluster, one, two):
        cluster.address = one
        cluster.start_worker("plain", MODULE, options=("--label", "gpu=t4"))
        async with Client.connect(one) as client:
            run = await client.start(flows.rendering)
            whole = await client.start(flows.training)

            async def waits() -> bool:
                return await queued(run) == 1

            await eventually(waits, "the task waits")
            cluster.address = two
            cluster.start_worker("fits", MODULE, options=("--label", "gpu=a100", "--label", "zone=eu"))
            await run.result(timeout="20s")
            await whole.result(timeout="20s")

            assert await worker_of(run) == "fits"


async def test_preferred_labels_are_waited_for_only_shortly(tmp_path: Path) -> None:
    """Who has them gets the work while it can; without such a worker anyone does."""
    async with two_coordinators(tmp_path) as (cluster, one, two):
        cluster.address = one
        cluster.start_worker("plain", MODULE)
        async with Client.connect(one) as client:
            alone = await client.start(flows.going_near)
            await alone.result(timeout="20s")
            assert await worker_of(alone) == "plain"

            cluster.address = two
            cluster.start_worker("eu", MODULE, options=(*TASKS, "--label", "zone=eu"))

            async def goes_there() -> bool:
                run = await client.start(flows.going_near)
                await run.result(timeout="20s")
                return await worker_of(run) == "eu"

            await eventually(goes_there, "the worker with the label gets it")


async def test_a_task_that_takes_many_slots_goes_where_there_are_as_many(tmp_path: Path) -> None:
    """A worker with fewer in all never gets it."""
    async with two_coordinators(tmp_path) as (cluster, one, _):
        cluster.address = one
        cluster.start_worker("small", MODULE, slots=2)
        async with Client.connect(one) as client:
            run = await client.start(flows.going_wide)

            async def waits() -> bool:
                return await queued(run) == 1

            await eventually(waits, "the task waits")
            cluster.start_worker("large", MODULE, slots=4, options=TASKS)
            await run.result(timeout="20s")

            assert await worker_of(run) == "large"


def aiki(cluster: LocalCluster, *arguments: str) -> list[dict[str, Any]]:
    """What a subcommand prints with --json."""
    program = "import sys; from aiki_client.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *arguments, "--address", cluster.address, "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return [json.loads(line) for line in finished.stdout.splitlines()]


async def test_the_command_says_why_and_what_waits(tmp_path: Path) -> None:
    """A label that no worker has is named, of the run, of its task, and of what waits in the queue."""
    with LocalCluster(tmp_path / "cluster") as cluster:
        cluster.start_coordinator()
        cluster.start_worker("plain", MODULE, options=("--label", "gpu=a10"))
        async with Client.connect(cluster.address) as client:
            run = await client.start(flows.rendering.with_(id="scene"))

            async def waits() -> bool:
                return await queued(run) == 1

            await eventually(waits, "the task waits")
            by_task = {reason.address: reason for reason in (await run.why()).reasons}
            (told,) = aiki(cluster, "run", "why", "scene")
            (work,) = aiki(cluster, "queue", "waiting")
            (queue,) = aiki(cluster, "queue", "list")

    reason = next(reason for address, reason in by_task.items() if address.startswith("render/"))
    assert reason.cause == "no_label"
    assert "the nearest label is gpu=a10" in reason.message
    assert reason.message in {other["message"] for other in told["reasons"]}
    assert (work["cause"], work["labels"], work["backlog"]) == ("no_label", {"gpu": "a100"}, 1)
    assert (queue["queue"], queue["backlog"], queue["workers"]) == ("default", 1, 1)
