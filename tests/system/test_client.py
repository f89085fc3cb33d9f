"""Every request of the client, and every error it can get, on a real coordinator."""

import socket
from uuid import uuid4

import pytest

from aiki_client import (
    Blocking,
    Client,
    InvalidArgumentError,
    NotStalledError,
    NoWorkerError,
    RunClosedError,
    RunFailedError,
    RunNotFoundError,
    RunStalled,
    RunState,
    UnknownVersionError,
    UnknownWorkflowError,
    WaitTimeoutError,
    WorkflowIdTaken,
)
from aiki_task import PayloadTooLargeError, PayloadTypeError
from aiki_workflow import events
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.system.client_workflows import (
    BrokenShopError,
    Order,
    OutOfStock,
    approved,
    ask,
    buggy,
    buy,
    doze,
    sell,
)

TEA = Order(id="tea", amount=7)


def _id() -> str:
    return f"id-{uuid4().hex}"


async def test_a_run_from_start_to_result(client: Client) -> None:
    """Started, waited for, described, found again, its history read."""
    workflow_id = _id()
    run = await client.start(buy.with_(id=workflow_id), TEA)
    result = await run.result(timeout="30s")
    view = await run.describe()
    history = [event async for event in run.history()]
    tail = [event async for event in run.history(first_index=len(history) - 1)]

    assert result == "receipt for tea"
    assert (view.run_id, view.workflow_id, view.state) == (run.run_id, workflow_id, RunState.COMPLETED)
    assert (view.workflow, view.version, view.namespace, view.queue) == ("buy", "1", "default", "default")
    assert view.close_time is not None
    assert view.close_time >= view.start_time
    assert view.history_length == len(history)
    assert isinstance(history[0], events.RunStarted)
    assert [event for event in history if isinstance(event, events.TaskCompleted)]
    assert isinstance(history[-1], events.RunCompleted)
    assert tail == history[-1:]

    for found in (
        await client.run(workflow_id, buy),
        await client.get_run(run.run_id, buy),
        await client.find(run.run_id),
        await client.find(workflow_id),
    ):
        assert found.run_id == run.run_id
        assert await found.result() == "receipt for tea"


async def test_started_by_name(client: Client) -> None:
    """Arguments are encoded as what they are; the result as it was encoded."""
    run = await client.start_by_name("buy", {"id": "tea", "amount": 7})
    by_keyword = await client.start_by_name("buy", kwargs={"order": {"id": "jam", "amount": 1}})

    assert await run.result(timeout="30s") == "receipt for tea"
    assert await by_keyword.result(timeout="30s") == "receipt for jam"


async def test_followed_history_ends_with_the_run(client: Client) -> None:
    """What comes is told as it comes."""
    run = await client.start(ask, "may I?")
    seen: list[events.Event] = []
    async for event in run.history(follow=True):
        if isinstance(event, events.RunStarted):
            await run.signal(approved, value=True)
        seen.append(event)

    assert await run.result() is True
    assert seen == [event async for event in run.history()]
    assert [event.name for event in seen if isinstance(event, events.SignalReceived)] == ["approved"]


async def test_failures_come_back_as_themselves(client: Client) -> None:
    """A Failure of the module and an exception of `fails_on`, with their attributes."""
    with pytest.raises(OutOfStock, match="no tea left") as out:
        await (await client.start(sell, "tea")).result(timeout="30s")
    with pytest.raises(BrokenShopError, match="closed for repair"):
        await (await client.start(sell, "shop")).result(timeout="30s")

    assert out.value.item == "tea"
    assert isinstance(out.value.__cause__, RunFailedError)
    assert "raise OutOfStock(item)" in out.value.__cause__.failure.traceback


async def test_other_failures_are_told(client: Client) -> None:
    """A task's failure names its cause; so does a failure whose class is not known here."""
    with pytest.raises(RunFailedError, match="ValueError: amount 0 is not positive") as failed:
        await (await client.start(buy, Order(id="tea", amount=0))).result(timeout="30s")
    with pytest.raises(RunFailedError, match="OutOfStock: no jam left"):
        await (await client.start_by_name("sell", "jam")).result(timeout="30s")

    assert failed.value.failure.type == "TaskFailed"


async def test_a_bug_stalls_and_does_not_hang(client: Client) -> None:
    """`result` raises the traceback; resuming with the same code stalls again."""
    run = await client.start(buggy, "Ada")
    with pytest.raises(RunStalled, match="no_such_method"):
        await run.result(timeout="30s")
    length = (await run.describe()).history_length
    await run.resume()

    async def is_stalled() -> bool:
        return (await run.describe()).state is RunState.STALLED

    await eventually(is_stalled, "it stalls again")
    assert (await run.describe()).history_length == length


async def test_waiting_has_an_end(client: Client) -> None:
    """The run goes on."""
    run = await client.start(doze, "1h")
    with pytest.raises(WaitTimeoutError, match="still open") as late:
        await run.result(timeout="100ms")

    assert isinstance(late.value, TimeoutError)
    assert not (await run.describe()).state.is_closed


async def test_id_policies(client: Client) -> None:
    """An equal run is returned, another refused; the other policies say otherwise."""
    workflow_id = _id()
    first = await client.start(ask.with_(id=workflow_id), "may I?")
    equal = await client.start(ask.with_(id=workflow_id), "may I?")
    existing = await client.start(ask.with_(id=workflow_id, id_policy="return_existing"), "or I?")
    assert first.run_id == equal.run_id == existing.run_id

    for refused in (
        ask.with_(id=workflow_id),
        ask.with_(id=workflow_id, id_policy="reject"),
        ask.with_(id=workflow_id, id_policy="replace_closed"),
    ):
        with pytest.raises(WorkflowIdTaken, match=first.run_id):
            await client.start(refused, "or I?")

    await first.signal(approved, value=False)
    await first.result(timeout="30s")
    second = await client.start(ask.with_(id=workflow_id, id_policy="replace_closed"), "or I?")
    assert second.run_id != first.run_id
    assert (await client.run(workflow_id)).run_id == second.run_id


async def test_listing(client: Client) -> None:
    """Newest first, by workflow and state."""
    asked = [await client.start(ask, f"number {number}") for number in range(3)]
    done = await client.start(doze, "0s")
    await done.result(timeout="30s")

    listed = [view.run_id async for view in client.list(workflow="ask")]
    completed = [view async for view in client.list(workflow="doze", states=[RunState.COMPLETED])]

    ours = {run.run_id for run in asked}
    assert [run_id for run_id in listed if run_id in ours] == [run.run_id for run in reversed(asked)]
    assert done.run_id in {view.run_id for view in completed}
    assert {view.state for view in completed} == {RunState.COMPLETED}


async def test_nobody_serves_it(client: Client) -> None:
    """Told apart: the workflow, its version, a worker for its queue."""
    run = await client.start(doze, "0s")
    await run.result(timeout="30s")  # The worker is connected.

    with pytest.raises(UnknownWorkflowError, match="doze"):
        await client.start_by_name("dose", "1s", require_worker=True)
    with pytest.raises(UnknownVersionError, match="version '2'"):
        await client.start_by_name("doze", "1s", version="2", require_worker=True)
    with pytest.raises(NoWorkerError, match="queue 'gpu'"):
        await client.start_by_name("doze", "1s", queue="gpu", require_worker=True)


async def test_unserved_runs_wait_visibly(client: Client) -> None:
    """They say what for."""
    run = await client.start_by_name("doze", "0s", version="3")

    with pytest.raises(WaitTimeoutError, match="no worker serves doze v3"):
        await run.result(timeout="100ms")
    assert "no worker serves doze v3" in (await run.describe()).waiting_for


async def test_values_that_do_not_fit(client: Client) -> None:
    """Refused here when the definition is at hand, else a failed run; never a stalled one."""
    with pytest.raises(PayloadTypeError, match="argument 'question' of workflow 'ask'"):
        await client.start(ask, 7)  # type: ignore[arg-type]  # the misfit is the point
    with pytest.raises(PayloadTypeError, match="missing a required argument"):
        await client.start(ask)  # type: ignore[call-arg]  # as above
    run = await client.start_by_name("ask", 7)
    with pytest.raises(RunFailedError, match="question"):
        await run.result(timeout="30s")

    asked = await client.start(ask, "may I?")
    with pytest.raises(PayloadTypeError, match="approved"):
        await asked.signal(approved, "yes")  # type: ignore[misc]  # as above


async def test_values_over_the_limit(client: Client) -> None:
    """Refused before they are sent."""
    with pytest.raises(PayloadTooLargeError, match="over the limit of 2,097,152"):
        await client.start(ask, "a" * 2**21)


async def test_runs_that_are_not_there(client: Client) -> None:
    """By either id."""
    missing = f"7-{'0' * 20}"
    with pytest.raises(RunNotFoundError, match=missing):
        await client.get_run(missing)
    with pytest.raises(RunNotFoundError, match="no-such-id"):
        await client.run("no-such-id")
    with pytest.raises(RunNotFoundError, match=missing):
        await client.find(missing)


async def test_requests_at_the_wrong_time(client: Client) -> None:
    """A closed run takes no signals; one that is not stalled is not resumed."""
    run = await client.start(ask, "may I?")
    with pytest.raises(NotStalledError):
        await run.resume()
    await run.signal_by_name("approved", value=True)
    assert await run.result(timeout="30s") is True
    with pytest.raises(RunClosedError):
        await run.signal(approved, value=True)


async def test_ids_have_a_limit(client: Client) -> None:
    """The coordinator says which."""
    with pytest.raises(InvalidArgumentError, match="200 characters"):
        await client.start(ask.with_(id="i" * 201), "may I?")


async def test_namespaces_are_apart(cluster: LocalCluster) -> None:
    """A run of one is not found in another."""
    async with (
        Client.connect(cluster.address) as here,
        Client.connect(cluster.address, namespace="b") as there,
    ):
        workflow_id = _id()
        await here.start(ask.with_(id=workflow_id), "may I?")

        with pytest.raises(RunNotFoundError, match="namespace 'b'"):
            await there.run(workflow_id)


async def test_one_address_that_answers_is_enough(cluster: LocalCluster) -> None:
    """The others are passed over."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{unused.getsockname()[1]}"
        async with Client.connect(dead, cluster.address) as client:
            run = await client.start(doze, "0s")
            assert await run.result(timeout="30s") == "rested"


def test_blocking(cluster: LocalCluster) -> None:
    """The same client without `await`."""
    with Blocking() as block:
        client = block.enter(Client.connect(cluster.address))
        run = block(client.start(buy, TEA))
        result = block(run.result(timeout="30s"))
        kinds = [type(event) for event in block.each(run.history(follow=True))]

    assert result == "receipt for tea"
    assert kinds[0] is events.RunStarted
    assert kinds[-1] is events.RunCompleted
