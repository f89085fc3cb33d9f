"""Peers that do not read: what they cost is bounded, and nobody else notices."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import grpc
import psutil

from aiki.v1 import common_pb2, history_pb2, worker_pb2, workflow_pb2
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_cluster, a_coordinator, ended
from tests.support.waiting import eventually

MIB = 2**20
RUNS = 90
"""With an input of 1 MiB each: more than an outbox and what the transport buffers."""
FOLLOWERS = 20
EVENTS = 30


@asynccontextmanager
async def renewing(worker: Worker) -> AsyncGenerator[None]:
    """It says that it is alive, and does not care for the answers."""

    async def renew() -> None:
        while True:
            await worker.say(renew=worker_pb2.Renew())
            await asyncio.sleep(0.3)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()


async def serve_one(door: Door, worker: Worker) -> None:
    """A run is started, granted and done, as on any day."""
    await worker.credit(runs=1000)
    await door.start()
    grant = await worker.granted()
    result = await worker.commit(grant.lease, 1, ended())
    assert not result.HasField("error")


def resident() -> int:
    """Bytes of this process, in which the coordinator runs."""
    size: int = psutil.Process().memory_info().rss
    return size


async def test_a_worker_that_does_not_read_is_cut_off(store: Stores) -> None:
    """Its leases end although it goes on to renew, and others get what it was given."""
    async with a_cluster(store, ttl_seconds=2.0) as cluster:
        door = await cluster.coordinator()
        async with Worker(door, identity="deaf") as deaf, renewing(deaf):
            for _ in range(RUNS):
                await door.start(data=b'"' + b"x" * MIB + b'"')
            before = resident()
            await deaf.credit(runs=RUNS)
            async with Worker(door, identity="other") as other, renewing(other):
                await other.credit(runs=2 * RUNS)
                for _ in range(RUNS):
                    async with asyncio.timeout(50):
                        grant = await other.granted()
                    assert not (await other.commit(grant.lease, 1, ended())).HasField("error")
                await serve_one(door, other)
            grown = resident() - before

    assert grown < 500 * MIB


async def test_followers_that_do_not_read_get_no_more_than_fits(store: Stores) -> None:
    """A page waits until the one before has gone."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease
        for number in range(1, EVENTS + 1):
            task = history_pb2.TaskScheduled(
                address=f"t{number}", task="job", input=common_pb2.Payload(data=b"x" * MIB, encoding="json")
            )
            await worker.commit(lease, number, history_pb2.Event(time_ms=1, task_scheduled=task))
        before = resident()
        request = workflow_pb2.GetHistoryRequest(run=workflow_pb2.RunReference(run_id=run_id), follow=True)
        calls = [door.client.GetHistory(request) for _ in range(FOLLOWERS)]
        pages = [await call.read() for call in calls]
        for _ in range(5):
            await serve_one(door, worker)
        grown = resident() - before
        for call in calls:
            call.cancel()

    assert all(isinstance(page, workflow_pb2.GetHistoryResponse) for page in pages)
    assert grown < FOLLOWERS * EVENTS * MIB / 2


async def test_calls_at_once_are_bounded(store: Stores) -> None:
    """Those too many are refused; when others have ended there is room again."""
    async with a_cluster(store, calls_max=10) as cluster:
        door = await cluster.coordinator()
        run_id = await door.start()
        request = workflow_pb2.WaitRunRequest(run=workflow_pb2.RunReference(run_id=run_id))

        async def wait() -> None:
            await door.client.WaitRun(request)

        waiting = [asyncio.create_task(wait()) for _ in range(20)]
        refused, others = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        for call in others:
            call.cancel()
        await asyncio.wait(waiting)

        async def has_room() -> bool:
            try:
                await door.describe(run_id)
            except grpc.aio.AioRpcError:
                return False
            return True

        await eventually(has_room, "there is room again")

    codes = {error.code() for call in refused if isinstance(error := call.exception(), grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
