"""What a task knows and tells of its attempt, on real processes; beside its run and at another worker alike."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiki_client import Client, InvalidArgumentError, Run, RunFailedError, TaskNotFoundError
from aiki_task import Failure, PayloadTypeError
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system import context_workflows as flows

MODULE = "tests.system.context_workflows"
both_ways = pytest.mark.parametrize("remote", [False, True], ids=["beside its run", "remote"])


@pytest.fixture(scope="module")
def context_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves `context_workflows`."""
    with LocalCluster(tmp_path_factory.mktemp("context")) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", MODULE)
        yield cluster


@pytest.fixture
async def client(context_cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected to it."""
    async with Client.connect(context_cluster.address) as client:
        yield client


async def _written(file: Path) -> str:
    def content() -> str:
        return file.read_text() if file.exists() else ""

    async def is_there() -> bool:
        return bool(content())

    await eventually(is_there, f"{file.name} is written")
    return content()


async def _deferred(run: Run[Any]) -> None:
    async def is_so() -> bool:
        return [task.state for task in (await run.describe()).tasks] == ["deferred"]

    await eventually(is_so, "the task is deferred")


@both_ways
async def test_the_next_attempt_goes_on_from_the_checkpoint(client: Client, remote: bool) -> None:
    """What the first one did is not done again."""
    run = await client.start(flows.run_goes_on, remote)

    assert await run.result(timeout="20s") == [1, 2, 3, 4, 5]


async def test_a_checkpoint_outlives_its_worker(context_cluster: LocalCluster, tmp_path: Path) -> None:
    """The history of a run beside its task has it."""
    async with Client.connect(context_cluster.address) as client:
        run = await client.start(flows.run_goes_on, False)
        await run.result(timeout="20s")
        kept = [event async for event in run.history() if isinstance(event, events.TaskProgressed)]
    assert [event.checkpoint.data for event in kept] == [b"[1,2,3]"]


@both_ways
async def test_a_silent_attempt_is_given_up(client: Client, remote: bool) -> None:
    """Long before its timeout."""
    run = await client.start(flows.run_goes_silent, remote)

    with pytest.raises(RunFailedError, match=r"no heartbeat for 0\.3 s"):
        await run.result(timeout="20s")


@both_ways
async def test_an_attempt_that_beats_may_take_its_time(client: Client, remote: bool) -> None:
    """As long as its timeout."""
    run = await client.start(flows.run_beats, remote)

    assert await run.result(timeout="20s") == "beat on"


@both_ways
async def test_a_task_says_when_to_try_again(client: Client, remote: bool) -> None:
    """Instead of its policy's hour."""
    run = await client.start(flows.run_asks, remote)

    assert await run.result(timeout="20s") == 3


@both_ways
async def test_a_sync_task_is_told_to_stop(client: Client, remote: bool, tmp_path: Path) -> None:
    """It cleans up on its thread."""
    file = tmp_path / "end"
    run = await client.start(flows.run_loops, remote, str(file))

    assert await run.result(timeout="20s") == "timed out"
    assert await _written(file) == "cleaned up"


async def test_a_task_is_completed_from_elsewhere(client: Client, tmp_path: Path) -> None:
    """By the token of its attempt; a second time changes nothing, another result neither."""
    file = tmp_path / "token"
    run = await client.start(flows.run_approval, str(file))
    token = await _written(file)
    await _deferred(run)

    with pytest.raises(PayloadTypeError):
        await client.complete_task(token, 5, flows.approval)  # type: ignore[misc]  # what this test is about
    assert await client.complete_task(token, "yes", flows.approval) == run.run_id
    assert await client.complete_task(token, "no") == run.run_id

    assert await run.result(timeout="20s") == "yes"


async def test_a_task_is_completed_before_its_attempt_says_so(client: Client, tmp_path: Path) -> None:
    """Whoever has the token may be faster than the worker."""
    for number in range(10):
        file = tmp_path / f"token-{number}"
        run = await client.start(flows.run_approval, str(file))
        await client.complete_task(await _written(file), "at once")
        assert await run.result(timeout="20s") == "at once"


async def test_a_task_fails_from_elsewhere(client: Client, tmp_path: Path) -> None:
    """For good."""
    file = tmp_path / "token"
    run = await client.start(flows.run_approval, str(file))

    await client.fail_task(await _written(file), Failure("not with me"))

    with pytest.raises(RunFailedError, match="not with me"):
        await run.result(timeout="20s")


async def test_a_deferred_task_is_cancelled(client: Client, tmp_path: Path) -> None:
    """Its token is worth nothing then."""
    file = tmp_path / "token"
    run = await client.start(flows.run_approval, str(file))
    token = await _written(file)
    await _deferred(run)

    await run.cancel_task((await run.describe()).tasks[0].address)

    assert await run.result(timeout="20s") == "cancelled"
    with pytest.raises(TaskNotFoundError, match="is over"):
        await client.complete_task(token, "yes")


async def test_what_nobody_completes_is_tried_again(client: Client, tmp_path: Path) -> None:
    """When the attempt's timeout is over."""
    file = tmp_path / "attempts"
    run = await client.start(flows.run_forgotten, str(file))

    assert await run.result(timeout="20s") == "done at once"
    assert file.read_text() == "1\n2\n"


async def test_only_deferred_tasks_are_completed_later(client: Client) -> None:
    """The message says what to write."""
    run = await client.start(flows.run_cannot_be_deferred)

    with pytest.raises(RunFailedError, match=r"@task\(deferred=True\)"):
        await run.result(timeout="20s")


@pytest.mark.parametrize("token", ["", "nonsense", "0-0", "MC1hIDEgYiBj"])
async def test_a_token_that_is_none(client: Client, token: str) -> None:
    """Is told from one that is over."""
    with pytest.raises((InvalidArgumentError, TaskNotFoundError)):
        await client.complete_task(token, "yes")


async def test_a_task_waits_in_its_queue_for_so_long(client: Client) -> None:
    """Then it has failed."""
    run = await client.start(flows.run_unserved)

    with pytest.raises(RunFailedError, match="within its queue timeout"):
        await run.result(timeout="20s")
