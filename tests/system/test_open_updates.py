"""An update that is under way when its run closes is answered so, and one that was not begun goes along."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from aiki_client import Client, Run, RunClosedError, RunState
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import update_workflows as flows

MODULE = "tests.system.update_workflows"


@pytest.fixture(scope="module")
def desk_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves `update_workflows`."""
    with LocalCluster(tmp_path_factory.mktemp("updates"), lease_ttl="1s") as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", MODULE)
        yield cluster


@pytest.fixture
async def client(desk_cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected to it."""
    async with Client.connect(desk_cluster.address) as client:
        yield client


async def _is_asked(run: Run[Any], times: int = 1) -> None:
    async def is_asked() -> bool:
        asked = (await run.describe()).published.get("asked")
        return asked is not None and int(asked.data) >= times

    await eventually(is_asked, "the update is under way")


async def _pause(run: Run[Any]) -> None:
    """While no worker holds it, so that what comes from now on stays in its mailbox, the pause included."""

    async def waits() -> bool:
        return (await run.describe()).state is RunState.WAITING

    await eventually(waits, "the run waits")
    await run.pause()


async def _has_continued(run: Run[Any]) -> None:
    async def has_continued() -> bool:
        return bool((await run.describe()).continued_as)

    await eventually(has_continued, "the run continues")


CLOSE: dict[str, Callable[[Run[Any]], Awaitable[object]]] = {
    "complete": lambda run: run.signal(flows.end, "complete"),
    "fail": lambda run: run.signal(flows.end, "fail"),
    "continue": lambda run: run.signal(flows.end, "continue"),
    "cancel": lambda run: run.cancel(),
    "terminate": lambda run: run.terminate(),
}


@pytest.mark.parametrize("how", CLOSE)
async def test_what_is_under_way_when_the_run_closes(client: Client, how: str) -> None:
    """Whoever waits is told at once; asking again with the same id says the same."""
    run = await client.start(flows.Desk.run.with_(id=f"desk-{uuid4().hex[:8]}"), 1)
    asking = asyncio.create_task(run.update(flows.Desk.ask.with_(id="tea"), "tea"))
    await _is_asked(run)
    await CLOSE[how](run)

    with pytest.raises(RunClosedError):
        await asyncio.wait_for(asking, 20)
    with pytest.raises(RunClosedError):
        await asyncio.wait_for(run.update(flows.Desk.ask.with_(id="tea"), "tea"), 20)
    if how == "continue":
        await (await client.run(run.workflow_id)).terminate()


async def test_what_is_under_way_when_the_time_is_up(client: Client) -> None:
    """Likewise."""
    run = await client.start(flows.ShortDesk.run)
    with pytest.raises(RunClosedError):
        await asyncio.wait_for(run.update(flows.ShortDesk.ask), 20)
    assert (await run.describe()).state is RunState.TIMED_OUT


async def test_a_run_that_waits_for_its_updates(client: Client) -> None:
    """The answer comes from the run that took the update, also for who asks after it has continued."""
    run = await client.start(flows.Desk.run.with_(id=f"desk-{uuid4().hex[:8]}"), 1)
    asking = asyncio.create_task(run.update(flows.Desk.ask.with_(id="tea"), "tea"))
    await _is_asked(run)
    await run.signal(flows.end, "wait")
    await run.signal(flows.let, "here")
    assert await asyncio.wait_for(asking, 20) == "tea: here"

    await _has_continued(run)
    for again in (run, await client.run(run.workflow_id)):
        assert await asyncio.wait_for(again.update(flows.Desk.ask.with_(id="tea"), "tea"), 20) == "tea: here"
    await (await client.run(run.workflow_id)).terminate()


async def test_what_was_not_begun_is_answered_by_the_next_run(
    client: Client, desk_cluster: LocalCluster
) -> None:
    """Mail that comes with what makes the run continue; whoever waits goes along."""
    run = await client.start(flows.Desk.run.with_(id=f"desk-{uuid4().hex[:8]}"), 1)
    await _pause(run)
    # Read while the run was held: the signal and the update are drained together.
    await run.signal(flows.end, "continue")
    asking = asyncio.create_task(run.update(flows.Desk.ask, "tea"))

    async def both_wait() -> bool:
        return (await run.describe()).mail >= 3

    await eventually(both_wait, "pause, signal and update are in the mailbox")
    await run.resume()
    await _has_continued(run)
    newest = await client.run(run.workflow_id)
    await _is_asked(newest)
    await newest.signal(flows.let, "there")
    assert await asyncio.wait_for(asking, 20) == "tea: there"
    first = [event async for event in run.history()]
    assert isinstance(first[-1], events.RunContinued)
    assert desk_cluster.is_alive("worker")
    await newest.terminate()


async def test_an_update_between_two_attempts(client: Client) -> None:
    """A workflow that is retried takes along what it has not begun."""
    run = await client.start(flows.RetriedDesk.run)
    await _pause(run)
    await run.signal(flows.end, "fail")
    asking = asyncio.create_task(run.update(flows.RetriedDesk.ask))

    async def both_wait() -> bool:
        return (await run.describe()).mail >= 3

    await eventually(both_wait, "they are in the mailbox")
    await run.resume()
    assert await asyncio.wait_for(asking, 20) == "answered"
    await run.signal(flows.end, "well")
    assert await run.result("20s") == "well"
