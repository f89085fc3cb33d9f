"""One workflow after another, from end to end: coordinator, embedded store, worker, client."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiki_client import Client
from aiki_workflow import Workflow
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import first_workflows as flows

MODULE = "tests.system.first_workflows"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator with its store, and one worker."""
    with LocalCluster(tmp_path_factory.mktemp("cluster"), lease_ttl="1s") as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", MODULE)
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client.connect(cluster.address) as client:
        yield client


@pytest.mark.parametrize(
    ("workflow", "arguments", "result"),
    [
        pytest.param(flows.steps, (5,), 160, id="sequential steps"),
        pytest.param(flows.fan_out, (50,), 2450, id="gather of 50"),
        pytest.param(flows.fan_out, (700,), 489300, id="more commands than one commit holds"),
        pytest.param(flows.nap, (), "rested", id="durable sleeps"),
        pytest.param(flows.attempts, (), 3, id="retries"),
        pytest.param(flows.deadline, (), "too late", id="asyncio.timeout"),
        pytest.param(
            flows.gives_up,
            (),
            [
                "ConnectionResetError 1 False",
                "AttemptTimeoutError 1 True",
                "AttemptTimeoutError 2 True",
                "Refused no",
            ],
            id="failures",
        ),
    ],
)
async def test_run_gives_its_result(
    client: Client, workflow: Workflow[..., Any], arguments: tuple[Any, ...], result: object
) -> None:
    """What plain Python would give."""
    run = await client.start(workflow, *arguments)

    assert await run.result(timeout="20s") == result


async def test_sync_task_runs_in_the_worker(client: Client, cluster: LocalCluster) -> None:
    """In a thread of the worker's process."""
    run = await client.start(flows.in_thread)

    assert await run.result(timeout="20s") == cluster.pid("worker")


async def test_killed_worker_costs_one_step_at_most(tmp_path: Path) -> None:
    """After kill -9 midway another worker replays the run and goes on where it was."""
    log = tmp_path / "log"
    with LocalCluster(tmp_path / "cluster", lease_ttl="1s") as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker-1", MODULE)
        async with Client.connect(cluster.address) as client:
            run = await client.start(flows.many, str(log), 12)

            async def has_begun() -> bool:
                return log.exists() and len(log.read_text(encoding="utf-8").splitlines()) >= 4

            await eventually(has_begun, "some steps are done")
            cluster.kill("worker-1")
            cluster.start_worker("worker-2", MODULE)
            result = await run.result(timeout="20s")

    executed = Counter(log.read_text(encoding="utf-8").splitlines())
    assert result == sum(range(12))
    assert set(executed) == {str(number) for number in range(12)}
    assert executed.total() <= 13
