"""A coordinator that goes on SIGTERM is left for another before it ends, and work does not pause for it."""

import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from aiki_client import Client
from aiki_server.store.embedded import EmbeddedValkey
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import first_workflows as flows

MODULE = "tests.system.first_workflows"
STEPS = 60
PAUSE_SECONDS_MAX = 5.0
"""Far less than the TTL, after which the run would go on anyway."""


async def test_a_worker_moves_before_its_coordinator_ends(tmp_path: Path) -> None:
    """One stream follows the other, with every lease; the run goes on."""
    log = tmp_path / "log"
    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster", lease_ttl="60s") as cluster:
            options = ("--store", store.url)
            addresses = {name: cluster.start_coordinator(name, options=options) for name in ("one", "two")}
            cluster.address = ",".join(addresses.values())
            cluster.start_worker("worker", MODULE)
            async with Client.connect(*addresses.values()) as client:
                run = await client.start(flows.many, str(log), STEPS)

                async def has_begun() -> bool:
                    return log.exists() and len(log.read_text(encoding="utf-8").splitlines()) >= 4

                await eventually(has_begun, "some steps are done")
                goes = next(name for name, address in addresses.items() if address in cluster.log("worker"))
                assert cluster.stop(goes) == 0
                result = await run.result(timeout="40s")
                history = [event async for event in run.history()]

            said = cluster.log("worker")

    assert result == sum(range(STEPS))
    assert len(log.read_text(encoding="utf-8").splitlines()) == STEPS
    assert "wants to go: moving to" in said
    assert "broke" not in said
    times = [event.at for event in history if isinstance(event, events.TaskCompleted)]
    assert max(after - before for before, after in pairwise(times)) < PAUSE_SECONDS_MAX * 1000


async def test_a_worker_waits_for_the_return_of_the_only_coordinator(tmp_path: Path) -> None:
    """It keeps its leases while nobody is there, and no step runs twice."""
    log = tmp_path / "log"
    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster", lease_ttl="60s") as cluster:
            options = ("--store", store.url)
            address = cluster.start_coordinator(options=options)
            cluster.start_worker("worker", MODULE)
            async with Client.connect(address) as client:
                run = await client.start(flows.many, str(log), STEPS)

                async def has_begun() -> bool:
                    return log.exists() and len(log.read_text(encoding="utf-8").splitlines()) >= 4

                await eventually(has_begun, "some steps are done")
                assert cluster.stop("coordinator") == 0
                cluster.start_coordinator(listen=address, options=options)
                assert await run.result(timeout="40s") == sum(range(STEPS))

    assert len(log.read_text(encoding="utf-8").splitlines()) == STEPS


def test_a_worker_with_nobody_to_talk_to_gives_up(tmp_path: Path) -> None:
    """When its patience is over, it names each address and what is wrong there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    ended = subprocess.run(
        [sys.executable, "-m", "aiki_worker", MODULE, "--address", f"{nobody},dns:///no-such-host.invalid"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        cwd=Path.cwd(),
        env={"PATH": "/usr/bin:/bin", "AIKI_WORKER_CONNECT_TIMEOUT": "1s", "HOME": str(tmp_path)},
    )

    assert ended.returncode == 3
    assert f"{nobody}: Connection refused" in ended.stderr
    assert "dns:///no-such-host.invalid:7700: no host of this name is known" in ended.stderr
