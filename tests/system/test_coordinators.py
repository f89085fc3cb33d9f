"""Two coordinator processes on one store: whoever dies, the other goes on."""

from collections import Counter
from pathlib import Path

from aiki_client import Client
from aiki_server.store.embedded import EmbeddedValkey
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import first_workflows as flows

MODULE = "tests.system.first_workflows"


async def test_workers_resume_at_the_other_coordinator(tmp_path: Path) -> None:
    """The one they are connected to is killed midway: no step runs again, since no lease is lost."""
    log = tmp_path / "log"
    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster", lease_ttl="10s") as cluster:
            options = ("--store", store.url)
            dies = cluster.start_coordinator("dies", options=options)
            stays = cluster.start_coordinator("stays", options=options)
            cluster.address = f"{dies},{stays}"
            cluster.start_worker("worker", MODULE)
            async with Client.connect(stays) as client:
                run = await client.start(flows.many, str(log), 12)

                async def has_begun() -> bool:
                    return log.exists() and len(log.read_text(encoding="utf-8").splitlines()) >= 4

                await eventually(has_begun, "some steps are done")
                cluster.kill("dies")
                result = await run.result(timeout="20s")

    executed = Counter(log.read_text(encoding="utf-8").splitlines())
    assert result == sum(range(12))
    assert executed == Counter(str(number) for number in range(12))


async def test_work_moves_between_coordinators(tmp_path: Path) -> None:
    """Started at one, run by workers of both, waited for at the first."""
    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster", lease_ttl="1s") as cluster:
            options = ("--store", store.url)
            addresses = [cluster.start_coordinator(name, options=options) for name in ("one", "two")]
            for number, address in enumerate(addresses):
                cluster.address = address
                cluster.start_worker(f"worker-{number}", MODULE, slots=5)
            async with Client.connect(addresses[0]) as client:
                runs = [await client.start(flows.fan_out, 100) for _ in range(4)]

                assert [await run.result(timeout="20s") for run in runs] == [9900] * 4
