"""What a worker gives back when a coordinator asks for what has not begun."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_worker import Worker, collect, load_settings
from tests.unit.worker import flows
from tests.unit.worker.peer import Peer, Stream, grant, lease, started

STARTED = worker_pb2.RecallAck.REFUSAL_STARTED
NOT_HELD = worker_pb2.RecallAck.REFUSAL_NOT_HELD


@asynccontextmanager
async def a_stream(**settings: Any) -> AsyncIterator[tuple[Peer, Stream]]:
    """A worker of one slot, connected."""
    async with Peer() as peer:
        options = {"slots": 1, "prefetch": 5, **settings}
        worker = Worker(collect([flows]), load_settings(address=peer.address, identity="w1", **options))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(worker.run())
            yield peer, await peer.stream()
            peer.agree()
            worker.stop()
            await running


def task(address: str, name: str = "forever", arguments: str = "[]") -> worker_pb2.TaskAssignment:
    """A task to run."""
    data = f'{{"args":{arguments},"kwargs":{{}}}}'.encode()
    spec = history_pb2.TaskSpec(
        address=address, task=name, input=common_pb2.Payload(data=data, encoding="json"), queue="default"
    )
    return worker_pb2.TaskAssignment(lease=lease(address=address), spec=spec, attempt=1)


def recall(of: common_pb2.Lease) -> worker_pb2.Recall:
    """It is wanted back, if it has not begun."""
    return worker_pb2.Recall(lease=of, unstarted_only=True)


async def test_what_waits_for_a_slot_is_released() -> None:
    """And nothing else: what runs is kept, and said to have begun."""
    async with a_stream() as (_, stream):
        stream.say(task_assignment=task("one"))
        await stream.next("task_start")
        stream.say(task_assignment=task("two"))
        stream.say(recall=recall(lease(address="two")))
        released = await stream.next("release")
        stream.say(recall=recall(lease(address="one")))
        kept = await stream.next("recall_ack")
        stream.say(recall=recall(lease(address="two")))
        gone = await stream.next("recall_ack")

    assert released.lease == lease(address="two")
    assert (kept.lease, kept.refusal) == (lease(address="one"), STARTED)
    assert (gone.lease, gone.refusal) == (lease(address="two"), NOT_HELD)


async def test_a_recall_names_its_lease() -> None:
    """One of an earlier lease does not take the task of a later one away."""
    async with a_stream() as (_, stream):
        stream.say(task_assignment=task("one"))
        stream.say(task_assignment=task("two"))
        stream.say(recall=recall(lease(address="two", nonce="other")))

        assert (await stream.next("recall_ack")).refusal == NOT_HELD


async def test_credit_is_for_free_slots_and_what_is_prefetched() -> None:
    """What waits counts against the prefetched."""
    async with a_stream(slots=4, prefetch=3) as (peer, stream):
        assert (await stream.next("credit")).tasks_total == 2 + 3
        for number in range(6):
            stream.say(task_assignment=task(f"t{number}"))
        for _ in range(4):
            await stream.next("task_start")
        while stream.credit.tasks_total < 6 + 1:
            await stream.next("credit")

    assert peer.hellos[0].prefetch == 3


async def test_a_resumed_session_says_what_has_not_begun() -> None:
    """Of the leases it lists."""
    async with a_stream() as (peer, stream):
        stream.say(task_assignment=task("one"))
        await stream.next("task_start")
        stream.say(task_assignment=task("two"))
        stream.say(recall=recall(lease(address="three")))
        await stream.next("recall_ack")
        stream.end()
        await peer.stream()
        hello = peer.hellos[1]

    assert {held.address for held in hello.leases} == {"one", "two"}
    assert [held.address for held in hello.unstarted] == ["two"]


async def test_what_a_blocked_loop_does_not_come_to_goes_back() -> None:
    """The session's own thread answers, and the credit for it is not lost."""
    flows.blocked.clear()
    flows.go_on.clear()
    async with Peer() as peer:
        settings = load_settings(address=peer.address, identity="w1", slots=4)
        worker = Worker(collect([flows]), settings)
        running = asyncio.create_task(asyncio.to_thread(worker.run_forever))
        try:
            stream = await peer.stream()
            await stream.next("credit")
            stream.say(task_assignment=task("one", "blocks"))
            assert await asyncio.to_thread(flows.blocked.wait, 10)
            stream.say(task_assignment=task("two", "double", "[1]"))
            stream.say(run_grant=grant("chain", [started("chain")]))
            stream.say(recall=recall(lease(address="two")))
            first = await stream.next("release")
            stream.say(recall=recall(lease()))
            second = await stream.next("release")
            flows.go_on.set()
            while (stream.credit.tasks_total, stream.credit.runs_total) != (2 + 2, 1 + 4):
                await stream.next("credit")
        finally:
            flows.go_on.set()
            peer.agree()
            worker.stop()
            await running

    assert (first.lease, second.lease) == (lease(address="two"), lease())


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_run_has_begun_when_its_history_is_there(arrived: bool) -> None:
    """Before that it goes back."""
    async with a_stream() as (_, stream):
        history = [started("sleeps")]
        stream.say(run_grant=grant("sleeps", history, length=1 if arrived else 2))
        await stream.next("commit" if arrived else "need_history")
        stream.say(recall=recall(lease()))
        answer = await stream.next("recall_ack" if arrived else "release")

    assert answer.lease == lease()


@pytest.mark.parametrize("stands", [True, False])
async def test_what_runs_at_most_once_begins_when_its_start_is_recorded(stands: bool) -> None:
    """Meanwhile it is not given back, its start is said again on another stream; refused, it never begins."""
    flows.blocked.clear()
    flows.go_on.set()
    async with a_stream() as (peer, stream):
        once = task("once", "blocks")
        once.spec.at_most_once = True
        stream.say(task_assignment=once)
        said = await stream.next("task_start")
        stream.say(recall=recall(once.lease))
        kept = await stream.next("recall_ack")
        stream.end()
        other = await peer.stream()
        again = await other.next("task_start")
        assert not flows.blocked.is_set()
        answer = worker_pb2.TaskStartResult(lease=once.lease)
        if not stands:
            answer.error.code = 10
        other.say(task_start_result=answer)
        if stands:
            assert (await other.next("task_report")).lease == once.lease
        else:
            other.say(recall=recall(once.lease))
            assert (await other.next("recall_ack")).refusal == NOT_HELD

    assert said.answer
    assert said == again
    assert kept.refusal == STARTED
    assert flows.blocked.is_set() == stands
