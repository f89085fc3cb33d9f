"""What workflows can say, on real processes: children, signals, updates, stopping, time, hooks, sagas."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from aiki_client import (
    Client,
    NotRunningError,
    NotStalledError,
    QueryFailedError,
    QueryRejectedError,
    Run,
    RunCancelledError,
    RunClosedError,
    RunFailedError,
    RunState,
    RunTerminatedError,
    RunTimedOutError,
    TaskNotFoundError,
    TimerNotFoundError,
)
from aiki_client.history_file import saved_run
from aiki_task import DurationError
from aiki_worker.handlers import load
from aiki_workflow import UpdateRejected, events
from examples.local_cluster import LocalCluster
from tests.support.prefixes import assert_every_prefix_goes_on
from tests.support.waiting import eventually
from tests.system import language_workflows as flows

MODULE = "tests.system.language_workflows"
PREFIXES_MAX = 300


@pytest.fixture(scope="module")
def language_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A coordinator and a worker that serves `language_workflows`."""
    with LocalCluster(tmp_path_factory.mktemp("language")) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("worker", MODULE)
        yield cluster


@pytest.fixture
async def client(language_cluster: LocalCluster) -> AsyncIterator[Client]:
    """Connected to it."""
    async with Client.connect(language_cluster.address) as client:
        yield client


def _id() -> str:
    return f"id-{uuid4().hex[:12]}"


async def _kinds(run: Run[Any]) -> list[str]:
    return [type(event).__name__ async for event in run.history()]


async def _in_state(run: Run[Any], state: RunState) -> None:
    async def is_there() -> bool:
        return (await run.describe()).state is state

    await eventually(is_there, f"run {run.run_id} is {state}")


async def test_a_fan_out_of_children(client: Client) -> None:
    """Each child is a run of its own, in its own partition."""
    run = await client.start(flows.fan_out, 40)

    assert await run.result(timeout="60s") == sum(2 * value for value in range(100, 140))
    view = await run.describe()
    assert len(view.children) == 40
    assert {child.state for child in view.children} == {"completed"}
    child = await client.run(view.children[0].workflow_id)
    assert (await child.describe()).parent_run_id == run.run_id


async def test_failures_of_children_come_up(client: Client) -> None:
    """With the name and the message that they had."""
    run = await client.start(flows.parent_of_unlucky)

    assert await run.result(timeout="30s") == "Unlucky: thirteen"


async def test_a_child_by_its_handle(client: Client) -> None:
    """Started, signalled, waited for."""
    run = await client.start(flows.parent_with_handle, _id())

    assert await run.result(timeout="30s") == "from the parent"


async def test_a_child_id_that_is_taken(client: Client) -> None:
    """The start fails, and the run that has the id goes on."""
    taken = _id()
    holder = await client.start(flows.waits_for_go.with_(id=taken))
    run = await client.start(flows.takes_id, taken)

    assert await run.result(timeout="30s") == "WorkflowIdTaken"
    await holder.signal(flows.go, "on")
    assert await holder.result(timeout="30s") == "on"


async def test_cancellation_cascades_over_three_levels(client: Client) -> None:
    """Each level cleans up, and the reason stands in the history."""
    name = _id()
    run = await client.start(flows.family.with_(id=name), name, 2)
    leaf_id = f"{name}/0"

    async def leaf_is_there() -> bool:
        views = [view async for view in client.list(workflow="family")]
        return any(view.workflow_id == leaf_id and view.state is RunState.WAITING for view in views)

    await eventually(leaf_is_there, "the leaf waits")
    await run.cancel("enough")

    with pytest.raises(RunCancelledError, match="enough"):
        await run.result(timeout="30s")
    for workflow_id in (f"{name}/1", leaf_id):
        child = await client.run(workflow_id)
        # A parent waits until its child has cleaned up.
        assert (await child.describe()).state is RunState.CANCELLED
        assert "TaskCompleted" in await _kinds(child)


async def test_what_becomes_of_children(client: Client) -> None:
    """Cancelled, left alone or terminated, as was asked."""
    prefix = _id()
    run = await client.start(flows.leaves_children, prefix)
    assert await run.result(timeout="30s") == "done"

    with pytest.raises(RunCancelledError):
        await (await client.run(f"{prefix}-cancel")).result(timeout="30s")
    with pytest.raises(RunTerminatedError):
        await (await client.run(f"{prefix}-terminate")).result(timeout="30s")
    left = await client.run(f"{prefix}-leave")
    await left.signal(flows.go, "alone")
    assert await left.result(timeout="30s") == "alone"


async def test_signals_between_runs(client: Client) -> None:
    """They arrive, or the sender is told why not."""
    name = _id()
    receiver = await client.start(flows.waits_for_go.with_(id=name))
    sender = await client.start(flows.signals_another, name)
    assert await sender.result(timeout="30s") == "sent"
    assert await receiver.result(timeout="30s") == "from another run"

    late = await client.start(flows.signals_another, name)
    assert "completed" in await late.result(timeout="30s")
    nobody = await client.start(flows.signals_another, "nobody-has-this-id")
    assert "no run" in await nobody.result(timeout="30s")


async def test_signal_with_start(client: Client) -> None:
    """It starts the run, or reaches the one that is there."""
    call = flows.counts.with_(id=_id()).bind(2)
    first = await client.signal_with_start(call, flows.number, 3)
    second = await client.signal_with_start(call, flows.number, 4)

    assert first.workflow_id == second.workflow_id
    assert await second.result(timeout="30s") == 7


async def test_a_chain_of_runs_is_one_thing(client: Client) -> None:
    """Signals that came too early are carried on; the listing shows the chain once."""
    name = _id()
    run = await client.start(flows.counts.with_(id=name), 5)
    for value in range(1, 6):
        await run.signal(flows.number, value)

    assert await run.result(timeout="30s") == 15
    listed = [view async for view in client.list(workflow="counts") if view.workflow_id == name]
    assert [view.state for view in listed] == [RunState.COMPLETED]
    first = await run.describe()
    assert first.state is RunState.CONTINUED
    assert first.continued_as


async def test_a_workflow_is_retried(client: Client) -> None:
    """As the next run of its chain."""
    run = await client.start(flows.third_time_lucky)

    assert await run.result(timeout="30s") == 3


async def test_a_run_that_takes_too_long(client: Client) -> None:
    """Its code is cancelled, and the run is timed out."""
    run = await client.start(flows.too_slow)

    with pytest.raises(RunTimedOutError):
        await run.result(timeout="30s")
    assert (await run.describe()).state is RunState.TIMED_OUT


async def test_a_start_can_be_delayed_and_moved(client: Client) -> None:
    """A run that has not begun waits, and can be woken."""
    run = await client.start(flows.sleeps.with_(delay="1h"), "0s")
    assert (await run.describe()).state is RunState.SCHEDULED

    await run.move_timer()

    assert await run.result(timeout="30s") == "0.0"


async def test_a_scheduled_run_is_cancelled_at_once(client: Client) -> None:
    """It need not wait for its time to be told."""
    run = await client.start(flows.waits_for_go.with_(delay="1h"))
    await run.cancel()

    with pytest.raises(RunCancelledError):
        await run.result(timeout="30s")


async def test_a_sleeping_run_is_woken(client: Client) -> None:
    """Its timer is moved from outside, and the history shows it."""
    run = await client.start(flows.sleeps, "1h")
    await _in_state(run, RunState.WAITING)
    await run.move_timer(after="0s")

    await run.result(timeout="30s")
    assert "TimerRescheduled" in await _kinds(run)
    with pytest.raises(RunClosedError):
        await run.move_timer()


async def test_moving_a_timer_that_is_not_there(client: Client) -> None:
    """It is named, with those that are."""
    run = await client.start(flows.sleeps, "1h")
    await _in_state(run, RunState.WAITING)

    with pytest.raises(TimerNotFoundError, match="sleep/3600000ms/1"):
        await run.move_timer("sleep/1ms/1")
    with pytest.raises(DurationError):
        await run.move_timer(after="-5s")
    await run.terminate()


async def test_termination_leaves_no_time_to_clean_up(client: Client) -> None:
    """The run is closed at once, and what its worker still does is fenced."""
    run = await client.start(flows.waits_for_go)
    await _in_state(run, RunState.WAITING)
    await run.terminate("by hand")

    with pytest.raises(RunTerminatedError, match="by hand"):
        await run.result(timeout="30s")
    assert (await _kinds(run))[-1] == "RunTerminated"
    with pytest.raises(RunClosedError):
        await run.cancel()
    with pytest.raises(RunClosedError):
        await run.terminate()


async def test_terminating_a_run_that_is_held(client: Client) -> None:
    """Its worker lets go of it, and of the task it runs."""
    run = await client.start(flows.runs_slow_task)
    await _in_state(run, RunState.RUNNING)
    await run.terminate()

    with pytest.raises(RunTerminatedError):
        await run.result(timeout="30s")


async def test_an_operator_cancels_one_task(client: Client) -> None:
    """The code gets an error it can handle."""
    run = await client.start(flows.runs_slow_task)

    async def task_runs() -> bool:
        return any(task.is_open for task in (await run.describe()).tasks)

    await eventually(task_runs, "the task runs")
    [task] = (await run.describe()).tasks
    with pytest.raises(TaskNotFoundError):
        await run.cancel_task("slow/none/1")
    await run.cancel_task(task.address, "not needed")

    assert await run.result(timeout="30s") == "cancelled: not needed"


async def test_a_paused_run_keeps_its_mail(client: Client) -> None:
    """It is read when the run goes on."""
    run = await client.start(flows.waits_for_go)
    await _in_state(run, RunState.WAITING)
    await run.pause("lunch")
    with pytest.raises(NotRunningError):
        await run.pause()
    await run.signal(flows.go, "kept")
    view = await run.describe()
    assert view.state is RunState.PAUSED
    assert view.mail == 2  # that it was paused, and the signal

    await run.resume()
    assert await run.result(timeout="30s") == "kept"
    with pytest.raises(NotStalledError):
        await run.resume()


async def test_a_run_is_paused_while_a_worker_holds_it(client: Client) -> None:
    """When what runs is recorded it is given back."""
    run = await client.start(flows.fan_out, 30)
    await run.pause()
    await _in_state(run, RunState.PAUSED)
    await run.resume()

    assert await run.result(timeout="60s") == sum(2 * value for value in range(100, 130))


async def test_frozen_timers_fire_later(client: Client) -> None:
    """By as long as the run was held; others run on."""
    frozen = await client.start(flows.sleeps, "1500ms")
    await _in_state(frozen, RunState.WAITING)
    await frozen.pause(freeze_timers=True)
    await asyncio.gather(client.start(flows.sleeps, "1500ms"))
    other = await client.start(flows.sleeps, "1600ms")
    assert float(await other.result(timeout="30s")) >= 1.6
    await frozen.resume()

    slept = float(await frozen.result(timeout="30s"))
    assert slept >= 2.5
    assert "TimerMoved" in await _kinds(frozen)


async def test_published_state_is_read_without_a_worker(client: Client) -> None:
    """The newest value of each key."""
    run = await client.start(flows.publishes)
    await _in_state(run, RunState.WAITING)
    assert (await run.describe()).published["progress"].data == b'{"done":1,"of":2}'

    await run.signal(flows.go, "on")
    await run.result(timeout="30s")
    assert (await run.describe()).published["progress"].data == b'{"done":2,"of":2}'


@pytest.mark.parametrize(
    ("how", "phases"),
    [
        ("complete", ["started", "sleeping", "completed", "completed"]),
        ("fail", ["started", "failed", "failed"]),
    ],
)
async def test_hooks_run_around_a_run(client: Client, how: str, phases: list[str]) -> None:
    """Each once, with how it ended."""
    run = await client.start(flows.hooked, how)
    if how == "fail":
        with pytest.raises(flows.Unlucky):
            await run.result(timeout="30s")
    else:
        await run.result(timeout="30s")

    told = [
        event.output.data.decode().strip('"').split()[0]
        async for event in run.history()
        if isinstance(event, events.TaskCompleted)
    ]
    assert told == phases


async def test_hooks_run_after_cancellation(client: Client) -> None:
    """`on_cancel` and `after` get the outcome."""
    run = await client.start(flows.hooked, "wait")
    await _in_state(run, RunState.WAITING)
    await run.cancel()

    with pytest.raises(RunCancelledError):
        await run.result(timeout="30s")
    told = [
        event.output.data.decode().strip('"').split()[0]
        async for event in run.history()
        if isinstance(event, events.TaskCompleted)
    ]
    assert told == ["started", "cancelled", "cancelled"]


async def test_a_saga_is_undone_in_reverse(client: Client) -> None:
    """And the run fails with what went wrong."""
    run = await client.start(flows.books_trip, False)
    with pytest.raises(RunFailedError, match="no rooms"):
        await run.result(timeout="30s")

    undone = [
        event.input.data
        async for event in run.history()
        if isinstance(event, events.TaskScheduled) and event.task == "cancel_booking"
    ]
    assert [b"car" in undone[0], b"flight" in undone[1]] == [True, True]


async def test_a_saga_that_cannot_be_undone_says_so(client: Client) -> None:
    """The others are undone all the same."""
    run = await client.start(flows.books_trip, True)

    with pytest.raises(RunFailedError, match=r"not undone: flight .*; undone: car"):
        await run.result(timeout="30s")


async def test_updates_and_queries(client: Client) -> None:
    """An update is done once; a query sees what is recorded, also when the run is closed."""
    run = await client.start(flows.Cart.run, "ada")
    tea = flows.Item("tea", 2)

    assert await run.update(flows.Cart.add.with_(id="first"), tea) == 1
    assert await run.update(flows.Cart.add.with_(id="first"), tea) == 1
    assert await run.update(flows.Cart.add, flows.Item("milk")) == 2
    assert await run.query(flows.Cart.count) == 3
    await run.signal(flows.go, "pay")
    receipt = await run.result(timeout="30s")

    assert [item.name for item in receipt.items] == ["tea", "milk"]
    assert await run.query(flows.Cart.count) == 3
    assert await run.update(flows.Cart.add.with_(id="first"), tea) == 1
    with pytest.raises(RunClosedError):
        await run.update(flows.Cart.add, tea)


async def test_a_rejected_update_leaves_no_trace(client: Client) -> None:
    """Neither does one that does not exist or does not fit."""
    run = await client.start(flows.Cart.run, "ada")
    await _in_state(run, RunState.WAITING)
    before = (await run.describe()).history_length

    with pytest.raises(UpdateRejected, match="at least one"):
        await run.update(flows.Cart.add, flows.Item("tea", 0))
    with pytest.raises(UpdateRejected, match="there is no update 'remove'"):
        await run.update_by_name("remove", "tea")
    with pytest.raises(UpdateRejected, match="does not fit"):
        await run.update_by_name("add", 17)
    assert (await run.describe()).history_length == before
    with pytest.raises(flows.Unlucky, match="as it always does"):
        await run.update(flows.Cart.fails)
    await run.terminate()


async def test_queries_that_fail(client: Client) -> None:
    """Say why, and change nothing."""
    run = await client.start(flows.Cart.run, "ada")

    with pytest.raises(QueryRejectedError, match="there is no query"):
        await run.query_by_name("total")
    with pytest.raises(QueryFailedError, match="a bug in a query"):
        await run.query(flows.Cart.broken)
    assert await run.query(flows.Cart.count) == 0
    await run.terminate()


async def test_update_with_start(client: Client) -> None:
    """The cart is made by the first item that goes into it."""
    call = flows.Cart.run.with_(id=_id()).bind("ada")

    assert await client.update_with_start(call, flows.Cart.add, flows.Item("tea")) == 1
    assert await client.update_with_start(call, flows.Cart.add, flows.Item("milk")) == 2


async def test_watching_a_run(client: Client) -> None:
    """Every change is told, until it is closed."""
    run = await client.start(flows.publishes)
    states: list[RunState] = []
    async for view in run.watch():
        states.append(view.state)
        if view.state is RunState.WAITING:
            await run.signal(flows.go, "on")

    assert states[-1] is RunState.COMPLETED
    assert RunState.WAITING in states


async def test_a_graph_runs_as_parallel_as_it_can(client: Client) -> None:
    """Its nodes are the run's tasks and children; what its condition skips is not there."""
    run = await client.start(flows.runs_graph, 3)

    assert await run.result(timeout="20s") == ["skipped", 12, "last"]
    kinds = await _kinds(run)
    assert kinds[1:3] == ["TaskScheduled", "TaskScheduled"]
    assert kinds.count("TaskScheduled") == 3


async def test_a_graph_that_fails(client: Client) -> None:
    """The failure names the node."""
    run = await client.start(flows.runs_failing_graph)

    with pytest.raises(RunFailedError, match="graph 'failing' failed: child_doubles"):
        await run.result(timeout="20s")


async def test_every_run_can_be_picked_up_at_every_event(client: Client) -> None:
    """All that ran above: killed after any event that was recorded, it would have gone on alike."""
    workflows = load([MODULE]).workflows
    checked = 0
    async for view in client.list():
        run = await saved_run(await client.get_run(view.run_id))
        ends = run.history[-1:]
        if not ends or not isinstance(ends[0], events.ENDINGS) or len(run.history) > PREFIXES_MAX:
            continue
        assert_every_prefix_goes_on(run, workflows[run.workflow, run.version])
        checked += 1
    assert checked > 0


@pytest.mark.parametrize(("count", "limit"), [(0, 5), (40, 1), (200, 50), (1700, 120)])
async def test_a_task_is_mapped_over_items(client: Client, count: int, limit: int) -> None:
    """In order; beyond a page the history has a few events for each page."""
    run = await client.start(flows.maps, count, limit)

    assert await run.result(timeout="60s") == sum(value * value for value in range(count))
    children = (await run.describe()).children
    assert len(children) == (0 if count <= 500 else 4)
    assert {child.workflow for child in children} <= {"map.squares"}
    if children:
        assert len(await _kinds(run)) < 20


@pytest.mark.parametrize("count", [10, 700])
async def test_a_mapped_task_that_fails(client: Client, count: int) -> None:
    """The run fails by it, in a page or not."""
    run = await client.start(flows.maps_unlucky, count)

    with pytest.raises(RunFailedError, match="minus thirteen"):
        await run.result(timeout="60s")
