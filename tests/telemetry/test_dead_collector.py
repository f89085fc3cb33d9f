"""A collector that takes connections and never answers costs runs nothing but its spans."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki_client import Client
from examples.local_cluster import LocalCluster
from tests.telemetry import traced_workflows as flows

MODULE = "tests.telemetry.traced_workflows"
RUNS = 60
QUEUE = 50
STOP_SECONDS_MAX = 12.0


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Where nobody reads what arrives."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_dead_collector_stops_nothing(
    black_hole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More runs than the queues of spans can hold complete, and the processes end when they are told to."""
    for name, value in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": black_hole,
        "OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE),
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "TRACED_FOLDER": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "o.packing").touch()
    with LocalCluster(tmp_path / "cluster") as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", MODULE)
        async with Client.connect(cluster.address) as client:
            runs = [await client.start(flows.ship, "o") for _ in range(RUNS)]
            assert {await run.result(timeout="45s") for run in runs} == {"parcel of o"}
        begun = time.monotonic()
        for name in ("worker", "coordinator"):
            assert cluster.stop(name) == 0
        took = time.monotonic() - begun

    assert took < STOP_SECONDS_MAX, "the last spans get a moment each, and no more"
    # The SDK says so once, not once for each span.
    assert len(re.findall("dropping", cluster.log("worker"))) < QUEUE
