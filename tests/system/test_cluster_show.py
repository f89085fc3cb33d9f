"""`aiki cluster show`, as people and scripts see it."""

import json
import subprocess
import sys
from typing import Any

from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually

COMMAND = (
    sys.executable,
    "-c",
    "from aiki_client.cli import main; raise SystemExit(main())",
    "cluster",
    "show",
)


def show(address: str, *options: str) -> str:
    """What it prints."""
    ended = subprocess.run(
        [*COMMAND, "--address", address, *options], capture_output=True, text=True, check=True
    )
    return ended.stdout


async def test_a_cluster_is_shown(cluster: LocalCluster) -> None:
    """The coordinator, the worker and what it would take, as tables and as one JSON document."""

    async def worker_is_there() -> bool:
        return "worker" in show(cluster.address)

    await eventually(worker_is_there, "the worker is connected")
    picture: dict[str, Any] = json.loads(show(cluster.address, "--json"))
    text = show(cluster.address)

    [coordinator] = picture["coordinators"]
    [session] = coordinator["sessions"]
    assert coordinator["address"] == cluster.address
    assert (session["identity"], session["slots"], session["runs_held"]) == ("worker", 100, 0)
    assert {queue["queue"] for queue in picture["queues"]} == {"default"}
    assert coordinator["coordinator_id"] in text
    assert "0 things need attention" in text
    assert "handlers with nothing to do" in text


def test_another_namespace_is_empty(cluster: LocalCluster) -> None:
    """Unless all are asked for."""
    others: dict[str, Any] = json.loads(show(cluster.address, "--json", "--namespace", "other"))

    assert others["queues"] == []
    assert [view["sessions"] for view in others["coordinators"]] == [[]]
