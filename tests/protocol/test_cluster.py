"""What a cluster shows of itself: the same whichever coordinator is asked."""

from aiki.v1 import admin_pb2, admin_pb2_grpc, worker_pb2
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_cluster, a_coordinator, scheduled, spec
from tests.protocol.test_stealing import NEW, tasks_at_one
from tests.support.waiting import eventually


async def show(door: Door, namespace: str = "") -> admin_pb2.ShowClusterResponse:
    """The picture that this coordinator gives."""
    stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(door.channel)
    return await stub.ShowCluster(admin_pb2.ShowClusterRequest(namespace=namespace))


def sessions(picture: admin_pb2.ShowClusterResponse) -> list[admin_pb2.SessionView]:
    """All sessions of a picture."""
    return [session for view in picture.coordinators for session in view.sessions]


async def test_any_coordinator_shows_the_sessions_of_all(store: Stores) -> None:
    """Also those of another, with what they hold and what they would still take."""
    async with a_cluster(store) as cluster:
        one, two = await cluster.coordinator(), await cluster.coordinator()
        async with Worker(two, identity="ada", slots=7) as worker:
            await worker.credit(runs=3, tasks=2)
            await two.start()
            await worker.granted()

            async def is_shown() -> bool:
                return any(session.runs_held for session in sessions(await show(one)))

            await eventually(is_shown, "the other coordinator has told")
            picture = await show(one)

    [session] = sessions(picture)
    assert len(picture.coordinators) == 2
    assert sum(view.partitions for view in picture.coordinators) == picture.partitions
    assert (session.identity, session.slots, session.runs_held) == ("ada", 7, 1)
    assert (session.runs_free, session.tasks_free, session.tasks_held) == (2, 2, 0)
    held = {queue.handler: queue.held for queue in picture.queues}
    assert held["w:flow:1"] == 1


async def test_what_waits_in_a_queue_is_shown_with_its_age(store: Stores) -> None:
    """A task that nobody has credit for."""
    async with a_cluster(store) as cluster:
        door = await cluster.coordinator()
        async with Worker(door) as worker:
            await worker.credit(runs=1)
            await door.start()
            grant = await worker.granted()
            await worker.commit(grant.lease, 1, scheduled("a"), dispatches=[spec("a")])

            async def waits() -> bool:
                queues = {queue.handler: queue for queue in (await show(door)).queues}
                return queues["t:job"].backlog == 1 and queues["t:job"].sessions == 1

            await eventually(waits, "the hint is in the queue")
            assert (await show(door)).backlog == 1


async def test_other_namespaces_are_left_out_when_one_is_named(store: Stores) -> None:
    """Their sessions and their queues."""
    async with a_cluster(store) as cluster:
        door = await cluster.coordinator()
        async with Worker(door), Worker(door, namespace="other", identity="theirs"):
            picture = await show(door, "other")

    assert [session.identity for session in sessions(picture)] == ["theirs"]
    assert {queue.namespace for queue in picture.queues} == {"other"}


async def test_who_steals_from_whom_is_shown(store: Stores) -> None:
    """By the workers' names, and counted for each session."""
    async with (
        a_coordinator(store) as door,
        tasks_at_one(door, 1) as (busy, _),
        Worker(door, identity="idle", workflows=[], slots=1, **NEW) as idle,
    ):
        await idle.credit(tasks=1)
        recall = (await busy.next("recall")).recall
        await busy.say(release=worker_pb2.Release(lease=recall.lease))
        await idle.assigned()
        picture = await show(door)

    [theft] = picture.coordinators[0].thefts
    assert (theft.victim, theft.thief, theft.count) == ("busy", "idle", 1)
    stolen = {session.identity: (session.stolen_from, session.stolen_to) for session in sessions(picture)}
    assert (stolen["busy"], stolen["idle"]) == ((1, 0), (0, 1))


async def test_what_a_worker_kept_is_shown_with_the_reason(store: Stores) -> None:
    """Of what it was asked to give back."""
    async with (
        a_coordinator(store) as door,
        tasks_at_one(door, 2) as (busy, _),
        Worker(door, identity="idle", workflows=[], slots=1, **NEW) as idle,
    ):
        await idle.credit(tasks=1)
        recall = (await busy.next("recall")).recall
        refused = worker_pb2.RecallAck(lease=recall.lease, refusal=worker_pb2.RecallAck.REFUSAL_STARTED)
        await busy.say(recall_ack=refused)
        await busy.next("recall")
        picture = await show(door)

    [kept] = [session for session in sessions(picture) if session.identity == "busy"]
    assert (kept.stolen_from, kept.recalled, dict(kept.refused)) == (0, 2, {"started": 1})
