"""Remote tasks, frame by frame: dispatch, assignment, report, retry, cancel."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_coordinator, kinds, reason_of, scheduled, spec

OUTPUT = common_pb2.Payload(data=b"7", encoding="json")
BROKEN = common_pb2.Failure(type="OSError", message="broken")


@asynccontextmanager
async def a_run_with_a_task(
    door: Door, *, runs: int = 2, **options: Any
) -> AsyncGenerator[tuple[Worker, common_pb2.Lease]]:
    """A worker that holds a run, which has sent task `a` to the queue, and the run's lease."""
    async with Worker(door, tasks=[]) as holder:
        await holder.credit(runs=runs)
        await door.start()
        lease = (await holder.granted()).lease
        note = history_pb2.Event(
            time_ms=1, task_dispatched=history_pb2.TaskDispatched(address="a", queue="default")
        )
        await holder.commit(lease, 1, scheduled("a"), note, dispatches=[spec("a", **options)])
        yield holder, lease


async def outcome_of(holder: Worker, lease: common_pb2.Lease, number: int) -> history_pb2.Event:
    """Wait for the poke, and drain what came."""
    await holder.next("poke")
    result = await holder.commit(lease, number, drain=True)
    assert len(result.drained) == 1
    return result.drained[0]


async def test_a_result_becomes_mail(store: Stores) -> None:
    """Whoever serves the task gets it, and the run's holder is poked."""
    async with (
        a_coordinator(store) as door,
        a_run_with_a_task(door) as (holder, lease),
        Worker(door, identity="helper") as helper,
    ):
        await helper.credit(tasks=1)
        task = await helper.assigned()
        await helper.say(task_start=worker_pb2.TaskStart(lease=task.lease))
        first = await helper.report(task.lease, output=OUTPUT, duration_ms=5)
        again = await helper.report(task.lease, output=OUTPUT, duration_ms=5)
        event = await outcome_of(holder, lease, 2)

    assert (task.spec.task, task.attempt, task.lease.address) == ("job", 1, "a")
    assert not reason_of(first.error)
    assert not reason_of(again.error)
    assert event.task_completed.output == OUTPUT
    assert (event.task_completed.worker, event.task_completed.attempt) == ("helper", 1)


async def test_a_failed_attempt_is_made_again(store: Stores) -> None:
    """Until the policy says no more; what fails the task then says how often it was tried."""
    async with (
        a_coordinator(store) as door,
        a_run_with_a_task(door) as (holder, lease),
        Worker(door) as helper,
    ):
        await helper.credit(tasks=10)
        attempts: list[int] = []
        for _ in range(3):
            task = await helper.assigned()
            attempts.append(task.attempt)
            await helper.report(task.lease, failure=BROKEN)
        event = await outcome_of(holder, lease, 2)

    assert attempts == [1, 2, 3]
    assert (event.task_failed.failure.type, event.task_failed.failure.attempts) == ("OSError", 3)


async def test_a_final_failure_is_not_made_again(store: Stores) -> None:
    """Whatever the policy says; nor is one that the policy excludes."""
    async with (
        a_coordinator(store) as door,
        a_run_with_a_task(door) as (holder, lease),
        Worker(door) as helper,
    ):
        await helper.credit(tasks=10)
        await helper.report((await helper.assigned()).lease, failure=BROKEN, final=True)
        event = await outcome_of(holder, lease, 2)

    assert event.task_failed.failure.attempts == 1


async def test_a_task_that_is_not_wanted_is_cancelled(store: Stores) -> None:
    """Its holder is told, and its report changes nothing."""
    async with (
        a_coordinator(store) as door,
        a_run_with_a_task(door) as (holder, lease),
        Worker(door) as helper,
    ):
        await helper.credit(tasks=1)
        task = await helper.assigned()
        cancelled = history_pb2.Event(time_ms=2, task_cancelled=history_pb2.TaskCancelled(address="a"))
        await holder.commit(lease, 2, cancelled)

        told = (await helper.next("cancel")).cancel
        late = await helper.report(task.lease, output=OUTPUT)
        drained = await holder.commit(lease, 3, drain=True)

    assert told.lease == task.lease
    assert reason_of(late.error) == "FENCED"
    assert kinds(drained.drained) == []


async def test_a_task_that_is_out_of_time_fails(store: Stores) -> None:
    """By the total timeout, whether somebody runs it or not; who does is told."""
    async with a_coordinator(store) as door:
        deadline_ms = store.clock.now_ms() + 300
        async with (
            a_run_with_a_task(door, deadline_ms=deadline_ms) as (holder, lease),
            Worker(door) as helper,
        ):
            await helper.credit(tasks=1)
            task = await helper.assigned()
            event = await outcome_of(holder, lease, 2)
            told = (await helper.next("cancel")).cancel

    assert event.task_failed.failure.kind == common_pb2.FAILURE_KIND_TIMEOUT
    assert told.lease == task.lease


async def test_a_task_of_the_dead_goes_to_another(store: Stores) -> None:
    """After the lease TTL, and as the same attempt: losing a lease uses up none."""
    async with a_coordinator(store, ttl_seconds=0.6) as door, Worker(door, tasks=[]) as holder:
        await holder.credit(runs=1)
        await door.start()
        lease = (await holder.granted()).lease
        await holder.commit(lease, 1, scheduled("a"), dispatches=[spec("a")])
        async with Worker(door) as first:
            await first.credit(tasks=1)
            lost = await first.assigned()
        async with Worker(door) as second:
            await second.credit(tasks=1)
            task = await second.assigned()

    assert (task.lease.address, task.attempt) == ("a", 1)
    assert task.lease.epoch > lost.lease.epoch


async def test_a_released_task_goes_to_another(store: Stores) -> None:
    """At once."""
    async with (
        a_coordinator(store) as door,
        a_run_with_a_task(door),
        Worker(door) as first,
        Worker(door) as second,
    ):
        await first.credit(tasks=1)
        task = await first.assigned()
        await first.say(drain=worker_pb2.Drain())
        await first.say(release=worker_pb2.Release(lease=task.lease))
        await second.credit(tasks=1)

        assert (await second.assigned()).lease.address == "a"


async def test_an_adopted_task_keeps_its_retries(store: Stores) -> None:
    """What the old stream knew of it, the store knows too."""
    async with a_coordinator(store) as door, a_run_with_a_task(door), Worker(door) as helper:
        await helper.credit(tasks=1)
        task = await helper.assigned()
        helper.cut()
        await helper.connect(leases=[task.lease])
        assert not helper.welcome.lost

        await helper.report(task.lease, failure=BROKEN)
        await helper.credit(tasks=1)

        assert (await helper.assigned()).attempt == 2


async def test_a_task_that_runs_at_most_once_waits_for_its_start(store: Stores) -> None:
    """Its start is answered; given back after that, it fails and is not made again."""
    async with (
        a_coordinator(store) as door,
        a_run_with_a_task(door, at_most_once=True) as (holder, lease),
        Worker(door, identity="helper", revision_max=2) as helper,
    ):
        await helper.credit(tasks=5)
        task = await helper.assigned()
        await helper.say(release=worker_pb2.Release(lease=task.lease))
        again = await helper.assigned()
        late = await _start(helper, task.lease)
        stands = await _start(helper, again.lease)
        await helper.say(release=worker_pb2.Release(lease=again.lease))
        event = await outcome_of(holder, lease, 2)

    assert reason_of(late.error) == "FENCED"
    assert not reason_of(stands.error)
    assert (event.task_failed.failure.type, event.task_failed.worker) == ("OutcomeUnknown", "helper")


async def test_a_task_that_runs_at_most_once_is_not_tried_again(store: Stores) -> None:
    """Whatever its retry policy says."""
    async with (
        a_coordinator(store) as door,
        a_run_with_a_task(door, at_most_once=True) as (holder, lease),
        Worker(door, revision_max=2) as helper,
    ):
        await helper.credit(tasks=5)
        task = await helper.assigned()
        await _start(helper, task.lease)
        await helper.report(task.lease, failure=BROKEN)
        event = await outcome_of(holder, lease, 2)

    assert (event.task_failed.failure.type, event.task_failed.failure.attempts) == ("OSError", 1)


async def _start(worker: Worker, lease: common_pb2.Lease) -> worker_pb2.TaskStartResult:
    await worker.say(task_start=worker_pb2.TaskStart(lease=lease, answer=True))
    return (await worker.next("task_start_result")).task_start_result
