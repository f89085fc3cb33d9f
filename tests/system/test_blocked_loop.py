"""User code that blocks the loop cannot look like death."""

from pathlib import Path

import pytest

from aiki_client import Client
from aiki_workflow import Workflow
from examples.local_cluster import LocalCluster
from tests.system.blocking_workflows import blocks_in_task, blocks_in_workflow

LEASE_TTL_SECONDS = 1.0


@pytest.mark.parametrize("blocking", [blocks_in_task, blocks_in_workflow], ids=lambda workflow: workflow.name)
async def test_blocked_for_three_lease_ttls(blocking: Workflow[[float, str], str], tmp_path: Path) -> None:
    """It is reported, the lease is kept, and nothing runs twice."""
    attempts = tmp_path / "attempts"
    with LocalCluster(tmp_path / "cluster", lease_ttl=f"{LEASE_TTL_SECONDS:g}s") as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker-1", "tests.system.blocking_workflows")
        cluster.start_worker("worker-2", "tests.system.blocking_workflows")
        async with Client.connect(cluster.address) as client:
            run = await client.start(blocking, 3.2 * LEASE_TTL_SECONDS, str(attempts))
            result = await run.result(timeout="30s")
        logs = cluster.log("worker-1") + cluster.log("worker-2")

    assert result == "done"
    assert len(attempts.read_text(encoding="utf-8").splitlines()) == 1
    assert "blocked" in logs
