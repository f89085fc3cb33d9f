"""What a scrape of a coordinator and of a worker shows of runs that really ran."""

import asyncio
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from aiki_client import Client
from aiki_server.telemetry.metrics import REGISTRY as SERVER
from aiki_worker.metrics import REGISTRY as WORKER
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.telemetry import traced_workflows as flows
from tests.telemetry.receiver import Receiver, environment, receiving

MODULE = "tests.telemetry.traced_workflows"
Samples = dict[tuple[str, ...], float]


class Scraped:
    """Two processes and where their metrics are."""

    def __init__(self, cluster: LocalCluster, server: str, worker: str, receiver: Receiver) -> None:
        self.cluster = cluster
        self.server = server
        self.worker = worker
        self.receiver = receiver


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[Scraped]:
    """A coordinator and a worker that serve http; the worker sends spans, so that there are exemplars."""
    with receiving() as receiver, LocalCluster(tmp_path / "cluster", lease_ttl="1s") as cluster:
        server, worker = _free_address(), _free_address()
        cluster.start_coordinator(options=["--http", server])
        (tmp_path / "o1.packing").touch()
        cluster.start_worker(
            "worker",
            MODULE,
            options=["--http", worker],
            environment={**environment(receiver), "TRACED_FOLDER": str(tmp_path)},
        )
        yield Scraped(cluster, server, worker, receiver)


async def test_a_run_shows_in_the_metrics(scraped: Scraped) -> None:
    """Counted by state, with how long everything took, on both sides."""
    async with Client.connect(scraped.cluster.address) as client:
        run = await client.start(flows.purchase.with_(id="order-1"), "o1")
        waiting = await client.start_by_name("nobody serves it")
        await run.signal(flows.approved, "ada")
        await run.result(timeout="30s")
        await waiting.terminate()

    def of_server() -> Samples:
        return _scrape(scraped.server)

    async def gauges_have_looked() -> bool:
        seen = await asyncio.to_thread(of_server)
        backlog = seen.get(("aiki_queue_backlog", "default", "default"))
        return (seen.get(("aiki_sessions", "default")), backlog) == (1.0, 0.0)

    await eventually(gauges_have_looked, "the gauges were read when all was done")
    server, worker = await asyncio.to_thread(of_server), await asyncio.to_thread(_scrape, scraped.worker)

    assert server["aiki_runs_started_total", "default", "purchase"] == 1
    assert server["aiki_runs_started_total", "default", "ship"] == 1
    assert server["aiki_runs_closed_total", "default", "completed"] == 2
    assert server["aiki_runs_closed_total", "default", "terminated"] == 1
    assert server["aiki_tasks_dispatched_total", "default"] == 1
    assert server["aiki_tasks_retried_total",] == 1
    assert server["aiki_grants_total", "task"] == 1
    assert server["aiki_slots", "default"] == 100
    assert server["aiki_queue_pollers", "default", "default"] == 1
    assert server["aiki_store_problems",] == 0
    assert server["aiki_store_latency_seconds_count", "commit"] == server["aiki_commits_total",] > 2
    assert server["aiki_timer_lag_seconds_count",] == 1
    assert worker["aiki_worker_task_duration_seconds_count", "failed", "charge"] == 1
    assert worker["aiki_worker_task_duration_seconds_count", "completed", "charge"] == 1
    assert worker["aiki_worker_task_schedule_to_start_seconds_count", "default", "label"] == 1
    assert worker["aiki_worker_run_duration_seconds_count", "completed", "purchase"] == 1
    assert worker["aiki_worker_run_schedule_to_start_seconds_count", "ship"] == 1
    assert worker["aiki_worker_grants_total", "cached"] >= 1
    assert worker["aiki_worker_slots",] == 100
    assert worker["aiki_worker_connected",] == 1
    assert re.search(
        r'task_duration_seconds_bucket\{.*"charge".* # \{[^}]*trace_id="[0-9a-f]{32}"',
        await asyncio.to_thread(_get, scraped.worker),
    ), "an exemplar joins an attempt to its trace"


async def test_every_declared_metric_is_scraped(scraped: Scraped) -> None:
    """Also those that have no values yet."""
    for address, registry in ((scraped.server, SERVER), (scraped.worker, WORKER)):

        async def answers(address: str = address) -> bool:
            try:
                await asyncio.to_thread(_get, address)
            except OSError:
                return False
            return True

        await eventually(answers, f"{address} answers")
        declared = re.findall(r"^# TYPE (\S+) ", await asyncio.to_thread(_get, address), re.MULTILINE)
        assert declared == [metric.prometheus_name for metric in registry]


def _get(address: str) -> str:
    request = urllib.request.Request(
        f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        text: str = response.read().decode()
        return text


def _scrape(address: str) -> Samples:
    """By name and the labels' values, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(_get(address))  # type: ignore[no-untyped-call]  # it has no types
        for sample in family.samples
    }


def _free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"
