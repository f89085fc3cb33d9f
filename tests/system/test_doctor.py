"""`aiki doctor` on a real cluster, and on what is none."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually


def examine(*addresses: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    """The exit status, and the findings by where and what."""
    command = [
        sys.executable,
        "-c",
        "from aiki_client.cli import main; raise SystemExit(main())",
        "doctor",
        "--json",
    ]
    ended = subprocess.run(
        [*command, "--address", ",".join(addresses)], capture_output=True, text=True, check=False
    )
    findings = [json.loads(line) for line in ended.stdout.splitlines()]
    return ended.returncode, {(item["where"], item["subject"]): item for item in findings}


async def test_a_cluster_that_is_well(cluster: LocalCluster) -> None:
    """Status 0; the workers are counted."""

    async def worker_is_there() -> bool:
        return bool(examine(cluster.address)[1][cluster.address, "workers"]["severity"] == "ok")

    await eventually(worker_is_there, "the worker is connected")
    status, findings = examine(cluster.address)

    assert status == 0
    assert {item["severity"] for item in findings.values()} == {"ok"}
    assert findings[cluster.address, "workers"]["message"].startswith("1 connected")


def test_two_clusters_and_an_address_with_nobody(cluster: LocalCluster, tmp_path: Path) -> None:
    """Each is told, the coordinators that answer are examined all the same, and the status is 1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with LocalCluster(tmp_path) as other:
        status, findings = examine(cluster.address, other.start_coordinator(), nobody)

    assert status == 1
    assert findings["all", "cluster"]["severity"] == "problem"
    assert "Connection refused" in findings[nobody, "coordinator"]["message"]
    assert findings[cluster.address, "store"]["severity"] == "ok"
    assert findings[other.address, "workers"]["severity"] == "warning"
