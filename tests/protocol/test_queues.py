"""Priorities, labels and slots, frame by frame; and what is told of what waits."""

from typing import Any

import grpc
import pytest

from aiki.v1 import admin_pb2, admin_pb2_grpc, common_pb2, worker_pb2, workflow_pb2
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_cluster, a_coordinator, reason_of_rpc, scheduled, spec
from tests.support.waiting import eventually

OUTPUT = common_pb2.Payload(data=b"7", encoding="json")


async def dispatch(door: Door, addresses: dict[str, common_pb2.Placement], **start: Any) -> Worker:
    """A worker that holds a run whose tasks, by address, wait in the queue."""
    holder = Worker(door, tasks=[])
    await holder.connect()
    await holder.credit(runs=1)
    await door.start(**start)
    grant = await holder.granted()
    await holder.commit(
        grant.lease,
        1,
        *map(scheduled, addresses),
        dispatches=[spec(address, placement=placement) for address, placement in addresses.items()],
    )
    return holder


async def explained(door: Door, run_id: str) -> workflow_pb2.ExplainRunResponse:
    """Why a run waits."""
    request = workflow_pb2.ExplainRunRequest(run=workflow_pb2.RunReference(run_id=run_id))
    return await door.client.ExplainRun(request)


async def test_who_is_first_in_line_goes_first(store: Stores) -> None:
    """Of what waits when credit comes, one of each priority in their order, then more of the first."""
    async with a_coordinator(store) as door:
        tasks = {
            f"{priority}{letter}": common_pb2.Placement(priority=priority)
            for priority in (5, 3, 1)
            for letter in "ab"
        }
        holder = await dispatch(door, tasks)
        order: list[str] = []
        async with Worker(door) as helper:
            for number in range(1, 7):
                await helper.credit(tasks=number)
                order.append((await helper.assigned()).lease.address)
        holder.cut()

    assert order[0] == "1a"
    assert order.index("1b") < order.index("5b")
    assert sorted(order) == sorted(tasks)


async def test_work_waits_for_its_labels_and_moves_when_they_come(store: Stores) -> None:
    """To a session of another coordinator, which learns of the lane from the store."""
    async with a_cluster(store) as cluster:
        one, two = await cluster.coordinator(), await cluster.coordinator()
        holder = await dispatch(one, {"a": common_pb2.Placement(labels=["gpu=a100"])})
        async with (
            Worker(one, labels=["gpu=t4"]) as plain,
            Worker(two, labels=["zone=eu", "gpu=a100"]) as fits,
        ):
            await plain.credit(tasks=5)
            await fits.credit(tasks=5)
            assert (await fits.assigned()).lease.address == "a"
            await plain.round_trip()
            assert not plain.has_heard("task_assignment")
        holder.cut()


async def test_credit_counts_slots(store: Stores) -> None:
    """A task may take more than what is left; then nothing comes before that is made up for."""
    async with a_coordinator(store) as door:
        tasks = {name: common_pb2.Placement(slots=3) for name in ("a", "b")}
        holder = await dispatch(door, tasks)
        async with Worker(door, counts_slots=True, slots=4) as helper:
            assert helper.welcome.counts_slots
            await helper.credit(tasks=1)
            first = await helper.assigned()
            await helper.credit(tasks=3)
            await helper.round_trip()
            assert not helper.has_heard("task_assignment")
            await helper.credit(tasks=4)
            second = await helper.assigned()
        holder.cut()

    assert {first.lease.address, second.lease.address} == {"a", "b"}
    assert first.spec.placement.slots == 3


async def test_a_queue_has_slots_of_its_own(store: Stores) -> None:
    """Credit of the worker alone is not enough."""
    async with a_coordinator(store) as door:
        holder = await dispatch(door, {name: common_pb2.Placement() for name in ("a", "b")})
        async with Worker(door, counts_slots=True, slots=10, queue_slots={"default": 1}) as helper:
            await helper.say(credit=worker_pb2.Credit(tasks_total=10, queue_tasks_total={"default": 1}))
            await helper.assigned()
            await helper.round_trip()
            assert not helper.has_heard("task_assignment")
            await helper.say(credit=worker_pb2.Credit(tasks_total=10, queue_tasks_total={"default": 2}))
            await helper.assigned()
        holder.cut()


async def test_a_run_is_explained_until_it_goes_on(store: Stores) -> None:
    """A label that is misspelt is named, with the one that may be meant."""
    async with a_coordinator(store) as door:
        placement = common_pb2.Placement(labels=["gpu=a10"], priority=2)
        run_id = await door.start(placement=placement)
        (nobody,) = (await explained(door, run_id)).reasons
        async with Worker(door, labels=["gpu=a100"]) as near:
            await near.credit(runs=5)
            (typo,) = (await explained(door, run_id)).reasons
            async with Worker(door, labels=["gpu=a10"]) as fits:
                (busy,) = (await explained(door, run_id)).reasons
                await fits.credit(runs=1)
                grant = await fits.granted()
                (held,) = (await explained(door, run_id)).reasons

    assert nobody.cause == workflow_pb2.WAIT_CAUSE_NO_HANDLER
    assert typo.cause == workflow_pb2.WAIT_CAUSE_NO_LABEL
    assert "the nearest label is gpu=a100" in typo.message
    assert (busy.cause, busy.position, busy.backlog) == (workflow_pb2.WAIT_CAUSE_NO_CREDIT, 1, 1)
    assert (held.cause, held.worker) == (workflow_pb2.WAIT_CAUSE_LEASED, "worker")
    assert held.since.ToMilliseconds() > 0
    assert grant.priority == 2


async def test_queues_are_listed(store: Stores) -> None:
    """What waits and why, what is in flight, and who serves, whichever coordinator is asked."""
    async with a_cluster(store) as cluster:
        one, two = await cluster.coordinator(), await cluster.coordinator()
        tasks = {"a": common_pb2.Placement(slots=2), "b": common_pb2.Placement(labels=["gpu=a100"])}
        holder = await dispatch(one, tasks)
        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(two.channel)

        async def listed() -> admin_pb2.ListQueuesResponse:
            return await stub.ListQueues(admin_pb2.ListQueuesRequest(namespace="default"))

        async with Worker(one, counts_slots=True, slots=4) as helper:
            await helper.credit(tasks=4)
            await helper.assigned()

            async def is_told() -> bool:
                queues = (await listed()).queues
                return [(queue.runs, queue.tasks, queue.slots) for queue in queues] == [(1, 1, 2)]

            await eventually(is_told, "the other coordinator knows")
            told = await listed()
        holder.cut()

    (queue,) = told.queues
    (work,) = told.waiting
    assert (queue.queue, queue.backlog, queue.sessions) == ("default", 1, 2)
    assert (work.handler, list(work.labels), work.backlog) == ("t:job", ["gpu=a100"], 1)
    assert work.cause == workflow_pb2.WAIT_CAUSE_NO_LABEL


@pytest.mark.parametrize(
    "placement",
    [
        common_pb2.Placement(priority=9),
        common_pb2.Placement(labels=["gpu"]),
        common_pb2.Placement(prefers=["gpu=a b"]),
    ],
)
async def test_bad_placements_are_refused(store: Stores, placement: common_pb2.Placement) -> None:
    """Before anything is started."""
    async with a_coordinator(store) as door:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await door.start(placement=placement)

    assert reason_of_rpc(refused.value) == "INVALID_ARGUMENT"


async def test_a_run_keeps_its_placement(store: Stores) -> None:
    """A repeat of its start, and whoever reads it, finds it."""
    async with a_coordinator(store) as door:
        run_id = await door.start(placement=common_pb2.Placement(priority=1, labels=["gpu=a100"]))
        record = await store.runs.get(namespace="default", run_id=run_id)

    assert record is not None
    assert (record.placement.priority, record.placement.labels) == (1, ("gpu=a100",))
