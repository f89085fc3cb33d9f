"""Parents, children and signals between runs while workers and a coordinator are killed."""

import asyncio
from collections.abc import Iterator

import pytest

from aiki_client import Client, RunState
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import language_workflows as flows

MODULE = "tests.system.language_workflows"
CHILDREN = 1000


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and two workers."""
    with LocalCluster(tmp_path_factory.mktemp("family")) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("first", MODULE)
        cluster.start_worker("second", MODULE)
        yield cluster


async def test_a_thousand_children_and_a_worker_that_dies(cluster: LocalCluster) -> None:
    """Every child counts once."""
    async with Client.connect(cluster.address) as client:
        run = await client.start(flows.fan_out, CHILDREN)

        async def some_are_done() -> bool:
            ended = sum(isinstance(event, events.ChildCompleted) for event in await _history())
            return ended >= 20

        async def _history() -> list[events.Event]:
            return [event async for event in run.history()]

        await eventually(some_are_done, "some children are done", seconds=60)
        await asyncio.to_thread(cluster.kill, "first")
        cluster.start_worker("third", MODULE)

        assert await run.result(timeout="100s") == sum(2 * value for value in range(100, 100 + CHILDREN))
        ended = [event.address for event in await _history() if isinstance(event, events.ChildCompleted)]
        assert len(ended) == len(set(ended)) == CHILDREN


async def test_cancellation_reaches_children_although_workers_die(cluster: LocalCluster) -> None:
    """Three generations, each cleaned up once."""
    async with Client.connect(cluster.address) as client:
        run = await client.start(flows.family.with_(id="oldest"), "youngest", 2)

        async def is_there() -> bool:
            return any([view.workflow_id == "youngest/0" async for view in client.list()])

        await eventually(is_there, "the youngest is there")
        await asyncio.to_thread(cluster.kill, "first")
        await run.cancel("the family is dissolved")
        await asyncio.to_thread(cluster.kill, "second")
        cluster.start_worker("third", MODULE)

        async def all_are_cancelled() -> bool:
            return {view.state async for view in client.list()} == {RunState.CANCELLED}

        await eventually(all_are_cancelled, "all generations are cancelled", seconds=60)
