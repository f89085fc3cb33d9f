"""The time of a run takes effect without a worker, and its code is told when there is one."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from aiki_client import Client, Run, RunFailedError, RunState, RunTimedOutError
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import timeout_workflows as flows

MODULE = "tests.system.timeout_workflows"
GRACE_SECONDS = 2


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator that waits two seconds for workers, and no worker."""
    with LocalCluster(tmp_path_factory.mktemp("timeouts"), lease_ttl="1s") as cluster:
        cluster.start_coordinator(environment={"AIKI_SERVER_TIMEOUT_GRACE_SECONDS": str(GRACE_SECONDS)})
        yield cluster


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected to it."""
    async with Client.connect(cluster.address) as client:
        yield client


async def _kinds(run: Run[Any]) -> list[str]:
    return [type(event).__name__ async for event in run.history()]


async def _is_waiting(run: Run[Any]) -> None:
    async def waits() -> bool:
        return (await run.describe()).state is RunState.WAITING

    await eventually(waits, "the run waits")


async def test_without_any_worker(client: Client) -> None:
    """Runs that have never begun: by their own time, and by their chain's."""
    short = await client.start(flows.short)
    chained = await client.start(flows.again_and_again, 1)
    forever = await client.start(flows.parent, "never started")

    for run in (short, chained):
        with pytest.raises(RunTimedOutError, match="no worker serves"):
            await run.result(timeout="30s")
        assert (await run.describe()).state is RunState.TIMED_OUT
    assert (await forever.describe()).state is RunState.RUNNING


async def test_when_the_worker_has_died(client: Client, cluster: LocalCluster) -> None:
    """What had begun is closed as well, its parent is told, and a next run of a chain is not forgotten."""
    cluster.start_worker("worker", MODULE)
    child_id = f"child-{uuid4().hex[:8]}"
    parent = await client.start(flows.parent.with_(timeout="50s"), child_id)
    broken = await client.start(flows.broken)

    async def child_waits() -> bool:
        return {view.workflow_id: view.state async for view in client.list()}.get(
            child_id
        ) is RunState.WAITING

    await eventually(child_waits, "the child waits")
    cluster.kill("worker")
    child = await client.run(child_id)
    with pytest.raises(RunTimedOutError, match="no worker serves short"):
        await child.result(timeout="30s")
    with pytest.raises(RunTimedOutError, match="it was stalled"):
        await broken.result(timeout="30s")

    cluster.start_worker("another", MODULE)
    with pytest.raises(RunFailedError, match="no worker serves short"):
        await parent.result(timeout="30s")


async def test_a_worker_that_comes_within_the_grace(client: Client, cluster: LocalCluster) -> None:
    """The code is told, and what is to run after it runs once."""
    run = await client.start(flows.short)
    cluster.start_worker("worker", MODULE)
    with pytest.raises(RunTimedOutError, match=r"within its time$"):
        await run.result(timeout="30s")
    kinds = await _kinds(run)
    assert kinds.count("TaskScheduled") == kinds.count("TaskCompleted") == 1
    assert kinds[-1] == "RunTimedOut"


async def test_clean_up_may_take_longer_than_the_grace(client: Client, cluster: LocalCluster) -> None:
    """Once the code is told, its end is its own business, also while its worker is dead."""
    cluster.start_worker("worker", MODULE)
    run = await client.start(flows.cleans_up_slowly)

    async def is_told() -> bool:
        return "TimerFired" in await _kinds(run)

    await eventually(is_told, "the code is told")
    await _is_waiting(run)
    cluster.kill("worker")
    fires = [event async for event in run.history() if isinstance(event, events.TimerStarted)][-1]

    async def is_late() -> bool:
        return (await run.describe()).mail > 0

    await eventually(is_late, f"timer {fires.address} fires without a worker")
    cluster.start_worker("another", MODULE)
    with pytest.raises(RunTimedOutError, match=r"within its time$"):
        await run.result(timeout="30s")
