"""A task that kills its worker each time is given up; what shared the worker with it goes on."""

import asyncio
from pathlib import Path

import pytest

from aiki_client import Client
from examples.local_cluster import LocalCluster
from tests.system.poison_workflows import bystander, minefield

MODULE = "tests.system.poison_workflows"
WORKERS = ("one", "two")
LOOK_SECONDS = 0.05


async def keep_alive(cluster: LocalCluster) -> None:
    """Start every worker again that has died, until cancelled."""
    while True:
        for name in WORKERS:
            if not cluster.is_alive(name):
                cluster.stop(name)
                cluster.start_worker(name, MODULE)
        await asyncio.sleep(LOOK_SECONDS)


@pytest.mark.timeout(120)
async def test_the_poison_fails_and_the_innocent_do_not(tmp_path: Path) -> None:
    """Two losses in company make it a suspect, three alone prove it: five workers die and no sixth."""
    log = tmp_path / "log"
    with LocalCluster(tmp_path / "cluster", lease_ttl="500ms") as cluster:
        cluster.start_coordinator()
        for name in WORKERS:
            cluster.start_worker(name, MODULE)
        async with Client.connect(cluster.address) as client, asyncio.TaskGroup() as group:
            keeper = group.create_task(keep_alive(cluster))
            beside = [await client.start(bystander, 20) for _ in range(4)]
            run = await client.start(minefield, str(log))

            result = await run.result(timeout="50s")
            totals = [await other.result(timeout="30s") for other in beside]
            keeper.cancel()

    assert result == ["PoisonTask", "1", "2"]
    assert totals == [sum(range(20))] * 4
    assert log.read_text(encoding="utf-8").count("bomb") == 5
