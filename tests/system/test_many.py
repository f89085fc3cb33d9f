"""Three coordinators and eight workers, one of each killed again and again."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from aiki_client import Client
from aiki_server.store.embedded import EmbeddedValkey
from examples.local_cluster import LocalCluster
from tests.system.chaos_workflows import expected, storm
from tests.system.test_chaos import free_port, history_of, most_common, progress

CAMPAIGN = bool(os.environ.get("AIKI_CAMPAIGN"))
SEEDS = 20 if CAMPAIGN else 1
KILLS = 12 if CAMPAIGN else 3
RUNS = 24
COORDINATORS = ("one", "two", "three")
WORKERS = tuple(f"worker-{number}" for number in range(8))
MODULE = "tests.system.chaos_workflows"


@pytest.mark.timeout(300 if CAMPAIGN else 60)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_run_completes_once_whoever_is_killed(seed: int, tmp_path: Path) -> None:
    """Clients and workers find another coordinator, others take over what the dead had."""
    dice = random.Random(seed)
    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster", lease_ttl="1s") as cluster:
            ports = {name: free_port() for name in COORDINATORS}
            cluster.address = ",".join(f"127.0.0.1:{port}" for port in ports.values())

            async def start_coordinator(name: str) -> None:
                await asyncio.to_thread(
                    cluster.start_coordinator,
                    name,
                    listen=f"127.0.0.1:{ports[name]}",
                    options=("--store", store.url),
                )

            await asyncio.gather(*map(start_coordinator, COORDINATORS))
            for name in WORKERS:
                cluster.start_worker(name, MODULE, slots=4)
            async with Client.connect(cluster.address) as client:
                runs = [
                    await client.start(storm.with_(id=f"many-{number}"), number) for number in range(RUNS)
                ]
                for _ in range(KILLS):
                    await progress(dice.choice(runs), dice.randrange(2, 30))
                    worker, coordinator = dice.choice(WORKERS), dice.choice(COORDINATORS)
                    await asyncio.gather(
                        asyncio.to_thread(cluster.kill, worker), asyncio.to_thread(cluster.kill, coordinator)
                    )
                    cluster.start_worker(worker, MODULE, slots=4)
                    await start_coordinator(coordinator)
                results = [await run.result(timeout="50s") for run in runs]
                counts = [most_common(await history_of(run)) for run in runs]

    assert results == [expected(number) for number in range(RUNS)]
    assert set(counts) == {1}, "no result is recorded twice"
