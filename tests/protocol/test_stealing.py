"""Stealing between sessions of one coordinator, frame by frame."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_cluster, a_coordinator, reason_of, scheduled, spec

OUTPUT = common_pb2.Payload(data=b"7", encoding="json")
NEW = {"revision_max": 2}


@asynccontextmanager
async def tasks_at_one(
    door: Door, count: int
) -> AsyncGenerator[tuple[Worker, list[worker_pb2.TaskAssignment]]]:
    """A worker of one slot that was given so many tasks, and has begun none."""
    async with (
        Worker(door, tasks=[]) as holder,
        Worker(door, identity="busy", workflows=[], slots=1, prefetch=100, **NEW) as busy,
    ):
        await busy.credit(tasks=101)
        await holder.credit(runs=1)
        await door.start()
        lease = (await holder.granted()).lease
        names = [f"t{number}" for number in range(count)]
        events = [scheduled(name) for name in names]
        events += [
            history_pb2.Event(
                time_ms=1, task_dispatched=history_pb2.TaskDispatched(address=name, queue="default")
            )
            for name in names
        ]
        await holder.commit(lease, 1, *events, dispatches=[spec(name) for name in names])
        yield busy, [await busy.assigned() for _ in names]


async def test_an_idle_session_gets_what_another_has_not_begun(store: Stores) -> None:
    """Recall, Release, and an assignment under a lease of its own; what has begun is not asked for."""
    async with a_coordinator(store) as door, tasks_at_one(door, 2) as (busy, (first, second)):
        await busy.say(task_start=worker_pb2.TaskStart(lease=first.lease))
        async with Worker(door, identity="idle", workflows=[], slots=1, **NEW) as idle:
            await idle.credit(tasks=1)
            recall = (await busy.next("recall")).recall
            await busy.say(release=worker_pb2.Release(lease=recall.lease))
            stolen = await idle.assigned()
            late = await busy.report(second.lease, output=OUTPUT)
            done = await idle.report(stolen.lease, output=OUTPUT)

    assert recall.unstarted_only
    assert recall.lease == second.lease
    assert stolen.lease.address == second.lease.address
    assert stolen.lease.nonce != second.lease.nonce
    assert stolen.attempt == 1
    assert reason_of(late.error) == "FENCED"
    assert not reason_of(done.error)


async def test_an_idle_session_of_another_coordinator_gets_some(store: Stores) -> None:
    """What waits is told, wanted, given back and offered."""
    async with a_cluster(store, ttl_seconds=6.0, stealing_after_seconds=0) as cluster:
        first, second = await cluster.coordinator(), await cluster.coordinator()
        async with (
            tasks_at_one(first, 2) as (busy, _),
            Worker(second, identity="idle", workflows=[], slots=1, **NEW) as idle,
        ):
            await idle.credit(tasks=1)
            recall = (await busy.next("recall")).recall
            await busy.say(release=worker_pb2.Release(lease=recall.lease))
            stolen = await idle.assigned()
            done = await idle.report(stolen.lease, output=OUTPUT)

    assert stolen.lease.address == recall.lease.address
    assert not reason_of(done.error)


async def test_no_more_is_asked_for_than_there_are_idle_slots(store: Stores) -> None:
    """Also while what was given back is on its way to the idle one."""
    async with a_cluster(store, stealing_after_seconds=0) as cluster:
        door = await cluster.coordinator()
        async with (
            tasks_at_one(door, 4) as (busy, _),
            Worker(door, identity="idle", workflows=[], slots=1, **NEW) as idle,
        ):
            await idle.credit(tasks=1)
            recall = (await busy.next("recall")).recall
            await busy.say(release=worker_pb2.Release(lease=recall.lease))
            await idle.assigned()
            for _ in range(10):
                await asyncio.gather(busy.round_trip(), idle.round_trip())

            assert not busy.has_heard("recall")


async def test_a_refused_recall_changes_nothing(store: Stores) -> None:
    """The holder ends what it has begun meanwhile, and something else is asked for."""
    async with (
        a_coordinator(store) as door,
        tasks_at_one(door, 2) as (busy, tasks),
        Worker(door, workflows=[], slots=1, **NEW) as idle,
    ):
        await idle.credit(tasks=1)
        recall = (await busy.next("recall")).recall
        refused = worker_pb2.RecallAck(lease=recall.lease, refusal=worker_pb2.RecallAck.REFUSAL_STARTED)
        await busy.say(recall_ack=refused)
        other = (await busy.next("recall")).recall
        kept = await busy.report(recall.lease, output=OUTPUT)

    assert not reason_of(kept.error)
    assert {recall.lease.address, other.lease.address} == {task.lease.address for task in tasks}


async def test_old_workers_are_not_asked(store: Stores) -> None:
    """They would not know what an unstarted recall is."""
    async with a_cluster(store, stealing_after_seconds=0) as cluster:
        door = await cluster.coordinator()
        async with (
            tasks_at_one(door, 1) as (busy, (task,)),
            Worker(door, workflows=[], slots=1, **NEW) as idle,
        ):
            busy.cut()
            busy.hello.revision_max = 1
            busy.hello.unstarted.append(task.lease)
            await busy.connect(leases=[task.lease])
            await idle.credit(tasks=1)
            for _ in range(20):
                await asyncio.gather(busy.round_trip(), idle.round_trip())

            assert busy.welcome.revision == 1
            assert not busy.has_heard("recall")


async def test_what_has_not_begun_is_stolen_after_a_resume(store: Stores) -> None:
    """Elsewhere too: the worker says which of its leases have not begun."""
    async with (
        a_cluster(store) as cluster,
    ):
        first, second = await cluster.coordinator(), await cluster.coordinator()
        async with (
            tasks_at_one(first, 1) as (busy, (task,)),
            Worker(second, identity="idle", workflows=[], slots=1, **NEW) as idle,
        ):
            busy.cut()
            busy.hello.unstarted.append(task.lease)
            await busy.connect(second, leases=[task.lease])
            await idle.credit(tasks=1)
            recall = (await busy.next("recall")).recall
            await busy.say(release=worker_pb2.Release(lease=recall.lease))

            assert (await idle.assigned()).lease.address == task.lease.address


@pytest.mark.parametrize("stealing", [True, False])
async def test_stealing_can_be_turned_off(store: Stores, stealing: bool) -> None:
    """A server setting."""
    async with a_cluster(store, stealing=stealing, stealing_after_seconds=0) as cluster:
        door = await cluster.coordinator()
        async with (
            tasks_at_one(door, 1) as (busy, _),
            Worker(door, workflows=[], slots=1, **NEW) as idle,
        ):
            await idle.credit(tasks=1)
            if stealing:
                await busy.next("recall")
                return
            # Longer than it would take, were it not off.
            for _ in range(20):
                await asyncio.gather(busy.round_trip(), idle.round_trip())
            assert not busy.has_heard("recall")
