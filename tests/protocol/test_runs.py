"""Runs, frame by frame: grant, commit, drain, release, poke."""

import pytest

from aiki.v1 import common_pb2, history_pb2, worker_pb2, workflow_pb2
from aiki_server.store import Stores
from tests.protocol.peer import Worker, a_coordinator, completed, ended, kinds, reason_of, scheduled


async def test_a_run_is_granted_on_the_spot(store: Stores) -> None:
    """To a session that has credit; the mail is its history."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        await worker.round_trip()
        run_id = await door.start("order-1")

        grant = await worker.granted()

    assert (grant.lease.run_id, grant.lease.epoch, grant.lease.address) == (run_id, 1, "")
    assert (grant.workflow, grant.version, grant.workflow_id, grant.queue) == (
        "flow",
        "1",
        "order-1",
        "default",
    )
    assert (grant.length, grant.first_index, kinds(grant.events)) == (1, 0, ["run_started"])


async def test_without_credit_nothing_is_granted(store: Stores) -> None:
    """It waits, and comes with the credit, however often that is said."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        run_id = await door.start()
        await worker.round_trip()
        assert not worker.has_heard("run_grant")

        await worker.credit(runs=1)
        await worker.credit(runs=1)
        assert (await worker.granted()).lease.run_id == run_id

        await door.start()
        await worker.round_trip()
        assert not worker.has_heard("run_grant")


async def test_a_commit_is_applied_once(store: Stores) -> None:
    """A repeat is answered like the first; one with a gap before it is refused, and so is an old lease."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease

        first = await worker.commit(lease, 1, scheduled("a"))
        again = await worker.commit(lease, 1, scheduled("a"))
        gap = await worker.commit(lease, 3, scheduled("c"))
        other = common_pb2.Lease(run_id=run_id, epoch=lease.epoch, nonce="other")
        fenced = await worker.commit(other, 2, scheduled("b"))

        assert first.length == again.length == 2
        assert first == again
        assert reason_of(gap.error) == "GAP"
        assert reason_of(fenced.error) == "FENCED"
        assert (await door.describe(run_id)).history_length == 2


async def test_mail_comes_with_a_drain_only(store: Stores) -> None:
    """The holder is poked, a plain commit says that mail waits, and a draining one brings it."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease
        await door.signal(run_id, "go")

        poke = (await worker.next("poke")).poke
        plain = await worker.commit(lease, 1, scheduled("a"))
        drained = await worker.commit(lease, 2, drain=True)

    assert poke.lease == lease
    assert (plain.mail_waits, list(plain.drained)) == (True, [])
    assert (drained.mail_waits, kinds(drained.drained)) == (False, ["signal_received"])
    assert not drained.released


async def test_an_idle_commit_releases_unless_mail_came(store: Stores) -> None:
    """Then the run waits, and costs nothing."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease
        await door.signal(run_id, "go")

        kept = await worker.commit(lease, 1, scheduled("a"), drain=True, idle=True)
        released = await worker.commit(lease, 2, drain=True, idle=True)

        assert (kept.released, kinds(kept.drained)) == (False, ["signal_received"])
        assert released.released
        assert (await door.describe(run_id)).state == common_pb2.RUN_STATE_WAITING


async def test_a_woken_run_goes_where_it_is_cached(store: Stores) -> None:
    """With the new events only."""
    async with a_coordinator(store) as door, Worker(door) as first, Worker(door) as second:
        await first.credit(runs=1)
        run_id = await door.start()
        lease = (await first.granted()).lease
        await first.commit(lease, 1, scheduled("a"), drain=True, idle=True)
        await second.credit(runs=10)
        await second.round_trip()
        await first.credit(runs=2)
        await first.round_trip()

        await door.signal(run_id, "go")
        grant = await first.granted()

    assert (grant.first_index, grant.length, kinds(grant.events)) == (2, 3, ["signal_received"])
    assert grant.lease.epoch == 2


async def test_a_long_history_comes_in_pages(store: Stores) -> None:
    """The grant holds its beginning; NeedHistory gives the rest."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease
        for number in range(1, 7):
            events = [scheduled(f"{number}/{index}") for index in range(500)]
            await worker.commit(lease, number, *events)
        await worker.say(release=worker_pb2.Release(lease=lease))
        await worker.next("release_result")
        await worker.credit(runs=2)

        grant = await worker.granted()
        history = list(grant.events)
        while len(history) < grant.length:
            need = worker_pb2.NeedHistory(lease=grant.lease, first_index=len(history))
            await worker.say(need_history=need)
            page = (await worker.next("history_page")).history_page
            assert page.first_index == len(history)
            history += page.events
        await worker.say(need_history=worker_pb2.NeedHistory(lease=grant.lease, first_index=grant.length))
        beyond = (await worker.next("history_page")).history_page

    assert (grant.lease.run_id, grant.length) == (run_id, 3001)
    assert history[-1].task_scheduled.address == "6/499"
    assert reason_of(beyond.error) == "FENCED"


async def test_a_released_run_goes_to_another(store: Stores) -> None:
    """With what was recorded, and the first is fenced."""
    async with a_coordinator(store) as door, Worker(door) as first, Worker(door) as second:
        await first.credit(runs=1)
        await door.start()
        lease = (await first.granted()).lease
        await first.commit(lease, 1, scheduled("a"))
        await first.say(release=worker_pb2.Release(lease=lease))
        await first.next("release_result")
        await second.credit(runs=1)

        grant = await second.granted()
        late = await first.commit(lease, 2, completed("a"))

    assert (grant.lease.epoch, kinds(grant.events)) == (2, ["run_started", "task_scheduled"])
    assert reason_of(late.error) == "FENCED"


async def test_the_end_of_a_run(store: Stores) -> None:
    """Who waits is told, the lease is over, and a repeat of the last commit is answered alike."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease
        reference = workflow_pb2.RunReference(run_id=run_id)
        waiting = door.client.WaitRun(workflow_pb2.WaitRunRequest(run=reference))

        result = await worker.commit(lease, 1, ended())
        again = await worker.commit(lease, 1, ended())
        run = (await waiting).run

    assert result == again
    assert result.released
    assert (run.state, run.output.data) == (common_pb2.RUN_STATE_COMPLETED, b'"done"')


async def test_timers_become_mail(store: Stores) -> None:
    """When they are due, and not before."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        await door.start()
        lease = (await worker.granted()).lease
        due_ms = worker.welcome.store_time_ms + 300
        timer = history_pb2.TimerStarted(address="sleep/300ms/1", due_ms=due_ms)
        await worker.commit(
            lease, 1, history_pb2.Event(time_ms=1, timer_started=timer), drain=True, idle=True
        )
        await worker.credit(runs=2)

        grant = await worker.granted()

    assert kinds(grant.events) == ["timer_fired"]
    assert grant.events[0].timer_fired.address == "sleep/300ms/1"
    assert grant.events[0].time_ms >= due_ms


async def test_a_stalled_run_waits_for_other_code(store: Stores) -> None:
    """Not for the same build again."""
    failure = common_pb2.Failure(type="KeyError", message="'x'")
    async with a_coordinator(store) as door:
        async with Worker(door) as broken:
            await broken.credit(runs=1)
            run_id = await door.start()
            lease = (await broken.granted()).lease
            assert (await broken.commit(lease, 1, stall=failure)).released
        async with Worker(door) as same:
            await same.credit(runs=1)
            await same.round_trip()
            assert not same.has_heard("run_grant")
            assert (await door.describe(run_id)).state == common_pb2.RUN_STATE_STALLED
        async with Worker(door, build_id="fixed") as fixed:
            await fixed.credit(runs=1)
            assert (await fixed.granted()).lease.run_id == run_id


@pytest.mark.parametrize("count", [1001])
async def test_a_commit_beyond_all_bounds_is_refused(store: Stores, count: int) -> None:
    """And nothing of it stands."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease

        refused = await worker.commit(lease, 1, *(scheduled(str(number)) for number in range(count)))

        assert reason_of(refused.error) == "INVALID_COMMIT"
        assert (await door.describe(run_id)).history_length == 1
