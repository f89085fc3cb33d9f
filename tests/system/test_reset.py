"""Going back to an event of a run, in its place and under another workflow id, on real processes."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from aiki_client import Client, EventNotFoundError, NotRunningError, Run, RunState, WorkflowIdTaken
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import reset_workflows as flows

MODULE = "tests.system.reset_workflows"


@pytest.fixture(scope="module")
def reset_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves `reset_workflows`."""
    with LocalCluster(tmp_path_factory.mktemp("reset")) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", MODULE)
        yield cluster


@pytest.fixture
async def client(reset_cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected to it."""
    async with Client.connect(reset_cluster.address) as client:
        yield client


def _id() -> str:
    return f"id-{uuid4().hex[:12]}"


async def _history(run: Run[Any]) -> list[events.Event]:
    return [event async for event in run.history()]


async def _length_up_to(run: Run[Any], kind: type[events.Event]) -> int:
    kinds = [type(event) for event in await _history(run)]
    return kinds.index(kind) + 1


async def _has(run: Run[Any], kind: type[events.Event]) -> None:
    async def is_there() -> bool:
        return kind in map(type, await _history(run))

    await eventually(is_there, f"run {run.run_id} has {kind.__name__}")


async def _closed_run_of_two(client: Client) -> Run[int]:
    run = await client.start(flows.adds_up.with_(id=_id()), 2)
    await run.signal(flows.number, 3)
    await run.signal(flows.number, 4)
    assert await run.result(timeout="20s") == 14
    return run


async def test_a_closed_run_goes_on_from_its_first_event(client: Client) -> None:
    """Signals that came later are delivered again, and the old run stays as it was."""
    run = await _closed_run_of_two(client)

    await run.reset(1, "once more")

    again = await client.run(run.workflow_id, flows.adds_up)
    assert again.run_id != run.run_id
    assert await again.result(timeout="20s") == 14
    assert await run.result(timeout="20s") == 14
    assert (await run.describe()).state is RunState.COMPLETED
    assert (await again.describe()).continued_from == run.run_id
    reset = next(event for event in await _history(again) if isinstance(event, events.RunReset))
    assert (reset.from_run_id, reset.length, reset.reason) == (run.run_id, 1, "once more")


async def test_every_event_of_a_history_can_be_gone_back_to(client: Client) -> None:
    """Each leads to the same end, wherever the cut is within a turn."""
    run = await _closed_run_of_two(client)
    length = len(await _history(run))

    for kept in range(1, length):
        newest = await client.run(run.workflow_id)
        await newest.reset(kept)
        again = await client.run(run.workflow_id, flows.adds_up)
        assert await again.result(timeout="20s") == 14, f"kept {kept} of {length}"
        view = await again.describe()
        assert view.published["total"].data == b"14", f"kept {kept} of {length}"
        # The next cut is made in the run that was itself reset.
        length = min(length, len(await _history(again)))


async def test_an_open_run_is_replaced_as_one_chain(client: Client) -> None:
    """Who waits for it gets the result of the one that goes on."""
    run = await client.start(flows.adds_up.with_(id=_id()), 2)
    await run.signal(flows.number, 3)
    await _has(run, events.TaskCompleted)

    new_id = await run.reset(await _length_up_to(run, events.RunStarted))
    await run.signal(flows.number, 4)

    assert await run.result(timeout="20s") == 14
    assert (await run.describe()).state is RunState.CONTINUED
    assert (await run.describe()).continued_as == new_id


async def test_a_child_tells_the_run_that_goes_on(client: Client) -> None:
    """A child that was started before is kept, whether it ends after the reset or has ended before."""
    child_id = _id()
    run = await client.start(flows.has_child.with_(id=_id()), child_id)
    await _has(run, events.ChildStarted)
    kept = await _length_up_to(run, events.ChildScheduled)
    await run.reset(kept)
    child = await client.run(child_id)
    await child.signal(flows.tell, "one")
    second = await client.run(run.workflow_id, flows.has_child)
    await _has(second, events.ChildCompleted)
    assert len((await second.describe()).children) == 1

    await second.reset(kept)
    third = await client.run(run.workflow_id, flows.has_child)
    await third.signal(flows.tell, "two")

    assert await third.result(timeout="20s") == "one two"
    assert (await client.run(child_id)).run_id == child.run_id

    await third.reset(kept)
    assert await (await client.run(run.workflow_id)).result(timeout="20s") == "one two"


async def test_children_that_came_later_are_others(client: Client) -> None:
    """A child with a generated id that was started after the event meets its policy, and a new one begins."""
    run = await client.start(flows.has_nameless_child.with_(id=_id()))
    await run.signal(flows.number, 5)
    await _has(run, events.ChildScheduled)
    before = (await run.describe()).children[0].workflow_id
    await run.reset(1)
    again = await client.run(run.workflow_id, flows.has_nameless_child)
    await _has(again, events.ChildScheduled)
    after = (await again.describe()).children[0].workflow_id
    assert before != after

    async def is_there() -> bool:
        return (await client.run(before)) is not None

    await eventually(is_there, "the first child")
    await (await client.run(before)).wait(timeout="20s")
    assert (await (await client.run(before)).describe()).state is RunState.CANCELLED
    await eventually_signal(client, after, 6)

    assert await again.result(timeout="20s") == 11


async def eventually_signal(client: Client, workflow_id: str, value: int) -> None:
    """Signal a run once it is there."""

    async def is_there() -> bool:
        try:
            await (await client.run(workflow_id)).signal(flows.number, value)
        except LookupError:
            return False
        return True

    await eventually(is_there, f"run of {workflow_id}")


async def test_timers_and_tasks_begin_anew(client: Client) -> None:
    """A timer fires when it was due, and what was in a queue is there again."""
    run = await client.start(flows.sleeps_and_queues.with_(id=_id()), "2s")
    await _has(run, events.TaskDispatched)
    kept = len(await _history(run))

    await run.reset(kept)

    again = await client.run(run.workflow_id, flows.sleeps_and_queues)
    await _has(again, events.RunReset)

    async def is_queued() -> bool:
        kinds = [type(event) for event in await _history(again)]
        return events.TaskDispatched in kinds[kept:] or events.TimerFired in kinds

    await eventually(is_queued, "the task is in its queue again")
    assert await again.result(timeout="20s") == await run.result(timeout="20s")


async def test_a_fork_leaves_the_run_as_it_is(client: Client) -> None:
    """Both go on; later signals are the first one's only."""
    run = await client.start(flows.adds_up.with_(id=_id()), 2)
    await run.signal(flows.number, 3)
    await _has(run, events.TaskCompleted)
    other_id = _id()

    new_id = await run.fork(await _length_up_to(run, events.TaskCompleted), other_id)

    other = await client.run(other_id, flows.adds_up)
    assert other.run_id == new_id
    await other.signal(flows.number, 10)
    await run.signal(flows.number, 4)
    assert await other.result(timeout="20s") == 26
    assert await run.result(timeout="20s") == 14
    with pytest.raises(WorkflowIdTaken, match=other_id):
        await run.fork(1, other_id)


async def test_what_cannot_be_gone_back_to(client: Client) -> None:
    """The message says what can."""
    run = await _closed_run_of_two(client)
    length = len(await _history(run))
    with pytest.raises(
        EventNotFoundError, match=rf"keep 1 to {length - 1} events: not {length}, .* is the end"
    ):
        await run.reset(length)
    with pytest.raises(
        EventNotFoundError, match=rf"keep 1 to {length - 1} events: not 1000, .* {length} is the end"
    ):
        await run.reset(1000)
    with pytest.raises(EventNotFoundError, match="not 0"):
        await run.reset(0)

    await run.reset(1)
    await (await client.run(run.workflow_id)).wait(timeout="20s")
    with pytest.raises(NotRunningError, match="has come to run"):
        await run.reset(1)
