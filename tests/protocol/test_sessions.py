"""Sessions: welcome, resume, expiry, drain, and a second coordinator."""

import grpc
import pytest

from aiki.v1 import common_pb2, worker_pb2, workflow_pb2
from aiki_server.store import Stores
from tests.protocol.peer import (
    Worker,
    a_cluster,
    a_coordinator,
    ended,
    kinds,
    reason_of,
    reason_of_rpc,
    scheduled,
    spec,
)

TTL_SECONDS = 0.6


async def test_welcome(store: Stores) -> None:
    """Says which revision, how long a lease lasts, and what time it is."""
    async with a_coordinator(store) as door, Worker(door) as one, Worker(door) as other:
        assert one.welcome.revision == 1
        assert one.welcome.lease_ttl.ToMilliseconds() == 30_000
        assert one.welcome.incarnation != other.welcome.incarnation
        assert abs(one.welcome.store_time_ms - store.clock.now_ms()) < 5_000


async def test_another_revision_is_refused(store: Stores) -> None:
    """With the sentence that says which side is old."""
    async with a_coordinator(store) as door:
        worker = Worker(door, revision_min=7, revision_max=9)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.connect()

    assert reason_of_rpc(caught.value) == "REVISION_UNSUPPORTED"
    assert "7 to 9" in (caught.value.details() or "")


async def test_a_session_begins_with_hello(store: Stores) -> None:
    """Anything else is refused, and so is what makes no sense later."""
    async with a_coordinator(store) as door:
        worker = Worker(door)
        await worker.connect()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.commit(common_pb2.Lease(run_id="none"), 1)
        assert reason_of_rpc(caught.value) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_broken_stream_is_resumed(store: Stores, *, elsewhere: bool) -> None:
    """Here or at another coordinator: leases are adopted, and what was not answered is said again."""
    async with a_cluster(store) as cluster:
        first, second = await cluster.coordinator(), await cluster.coordinator()
        async with Worker(first) as worker:
            await worker.credit(runs=1)
            run_id = await first.start()
            lease = (await worker.granted()).lease
            answered = await worker.commit(lease, 1, scheduled("a"))
            before = worker.welcome.incarnation
            worker.cut()

            await worker.connect(second if elsewhere else first, leases=[lease])
            again = await worker.commit(lease, 1, scheduled("a"))
            end = await worker.commit(lease, 2, ended())

            assert worker.welcome.incarnation != before
            assert not worker.welcome.lost
            assert again == answered
            assert end.released
            assert (await first.describe(run_id)).state == common_pb2.RUN_STATE_COMPLETED


async def test_what_is_not_held_any_more_is_lost(store: Stores) -> None:
    """Welcome says so, lease by lease."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        await door.start()
        lease = (await worker.granted()).lease
        await worker.commit(lease, 1, ended())
        worker.cut()
        await worker.connect(leases=[lease])

        assert list(worker.welcome.lost) == [lease]


async def test_a_grant_nobody_heard_of_is_given_again(store: Stores) -> None:
    """What the session does not list on resume, it does not hold, whatever the store has."""
    async with a_coordinator(store, TTL_SECONDS) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        await worker.granted()
        worker.cut()
        await worker.connect(leases=[])
        await worker.credit(runs=1)

        grant = await worker.granted()

    assert (grant.lease.run_id, grant.lease.epoch) == (run_id, 2)


async def test_a_session_that_is_not_renewed_is_dead(store: Stores) -> None:
    """Its run goes to another; what it says late is fenced, and it is told that it is lost."""
    async with a_coordinator(store, TTL_SECONDS) as door, Worker(door) as hung, Worker(door) as other:
        await hung.credit(runs=1)
        await door.start()
        lease = (await hung.granted()).lease
        await hung.commit(lease, 1, scheduled("a"))

        # The other one lives on: it renews for as long as it takes.
        await other.credit(runs=1)
        while not other.has_heard("run_grant"):
            await other.round_trip()
        grant = await other.granted()
        late = await hung.commit(lease, 2, ended())
        await hung.say(renew=worker_pb2.Renew())
        renewed = (await hung.next("renewed")).renewed

    assert (grant.lease.epoch, kinds(grant.events)) == (2, ["run_started", "task_scheduled"])
    assert reason_of(late.error) == "FENCED"
    assert reason_of(renewed.error) == "SESSION_LOST"


async def test_a_worker_that_drains_gets_nothing_more(store: Stores) -> None:
    """And ends the stream when it is done."""
    async with a_coordinator(store) as door, Worker(door) as leaving, Worker(door) as other:
        await leaving.credit(runs=10)
        await leaving.say(drain=worker_pb2.Drain())
        await leaving.round_trip()
        await other.credit(runs=1)
        await other.round_trip()
        run_id = await door.start()

        assert (await other.granted()).lease.run_id == run_id
        await leaving.round_trip()
        assert not leaving.has_heard("run_grant")
        await leaving.finish()


async def test_a_coordinator_that_goes_sends_its_workers_away(store: Stores) -> None:
    """With Drain, and what they hold goes on at another."""
    async with a_cluster(store) as cluster:
        first, second = await cluster.coordinator(), await cluster.coordinator()
        async with Worker(first) as worker:
            await worker.credit(runs=1)
            await first.start()
            lease = (await worker.granted()).lease
            await first.stop()
            await worker.next("drain")

            await worker.connect(second, leases=[lease])
            assert not worker.welcome.lost
            assert (await worker.commit(lease, 1, ended())).released


async def test_two_coordinators_are_one_cluster(store: Stores) -> None:
    """A run started at one is granted, poked, cancelled and ended at the other, and who waits is told."""
    async with a_cluster(store) as cluster:
        here, there = await cluster.coordinator(), await cluster.coordinator()
        async with Worker(there, tasks=[]) as holder, Worker(here) as helper:
            await holder.credit(runs=1)
            await helper.credit(tasks=1)
            run_id = await here.start()
            lease = (await holder.granted()).lease
            reference = workflow_pb2.RunReference(run_id=run_id)
            waiting = here.client.WaitRun(workflow_pb2.WaitRunRequest(run=reference))

            await here.signal(run_id, "go")
            assert (await holder.next("poke")).poke.lease == lease
            await holder.commit(lease, 1, scheduled("a"), dispatches=[spec("a")], drain=True)
            task = await helper.assigned()
            cancelled = {"time_ms": 2, "task_cancelled": {"address": "a"}}
            await holder.say(commit={"lease": lease, "number": 2, "events": [cancelled]})
            assert (await helper.next("cancel")).cancel.lease == task.lease
            await holder.commit(lease, 3, ended())

            assert (await waiting).run.state == common_pb2.RUN_STATE_COMPLETED
