"""What a worker says and does, frame by frame."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_task import AikiError
from aiki_worker import Worker, collect, load_settings
from tests.support.waiting import eventually
from tests.unit.worker import flows
from tests.unit.worker.peer import Peer, Stream, answer, grant, kinds, lease, started


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A coordinator."""
    async with Peer() as peer:
        yield peer


@asynccontextmanager
async def serving(peer: Peer, **settings: Any) -> AsyncIterator[Worker]:
    """A worker that serves the flows; stopped at the end."""
    worker = Worker(collect([flows]), load_settings(address=peer.address, identity="w1", **settings))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(worker.run())
        yield worker
        peer.agree()
        worker.stop()
        await running


@pytest.fixture
async def stream(peer: Peer) -> AsyncIterator[Stream]:
    """A connected worker's stream."""
    async with serving(peer):
        yield await peer.stream()


def arguments(*values: int) -> str:
    listed = ",".join(map(str, values))
    return f'{{"args":[{listed}],"kwargs":{{}}}}'


async def test_hello_says_what_is_served(peer: Peer, stream: Stream) -> None:
    """Handlers, queues, slots, and that the session is new."""
    (hello,) = peer.hellos
    assert hello.namespace == "default"
    assert {handler.name for handler in hello.workflows} >= {"chain", "sleeps"}
    assert {"double", "triple"} <= set(hello.tasks)
    assert list(hello.queues) == ["default"]
    assert hello.slots == 100
    assert not hello.resume_incarnation
    assert hello.build_id

    credit = await stream.next("credit")
    assert credit.runs_total == 100
    assert credit.tasks_total > 0


async def test_chain_takes_one_commit_a_step(stream: Stream) -> None:
    """The last step and the end share a commit; the second step starts after the first's commit."""
    stream.say(run_grant=grant("chain", [started("chain", arguments(5))]))

    first = await stream.next("commit")
    assert (first.number, first.drain, first.idle) == (1, False, False)
    assert kinds(first) == ["task_scheduled", "task_completed", "task_scheduled"]
    assert first.events[1].task_completed.output.data == b"10"
    stream.say(commit_result=answer(first, length=4))

    second = await stream.next("commit")
    assert second.number == 2
    assert kinds(second) == ["task_completed", "run_completed"]
    assert second.events[1].run_completed.output.data == b"20"
    stream.say(commit_result=answer(second, length=6, released=True))


async def test_sync_task_runs_in_a_thread(stream: Stream) -> None:
    """Same frames, other executor."""
    stream.say(run_grant=grant("one_sync", [started("one_sync", arguments(5))]))

    commit = await stream.next("commit")
    assert kinds(commit) == ["task_scheduled", "task_completed", "run_completed"]
    assert commit.events[2].run_completed.output.data == b"15"


async def test_sleeping_run_goes_idle_and_wakes_from_the_cache(stream: Stream) -> None:
    """Released with its timer; the next grant needs only what is new."""
    stream.say(run_grant=grant("sleeps", [started("sleeps")]))
    commit = await stream.next("commit")
    assert kinds(commit) == ["timer_started"]
    assert (commit.drain, commit.idle) == (True, True)
    stream.say(commit_result=answer(commit, length=2, released=True))

    fired = history_pb2.Event(
        time_ms=1_700_003_600_000,
        timer_fired=history_pb2.TimerFired(address=commit.events[0].timer_started.address),
    )
    again = lease(epoch=2, nonce="n2")
    stream.say(run_grant=grant("sleeps", [fired], of=again, first_index=2))
    closing = await stream.next("commit")
    assert closing.lease == again
    assert kinds(closing) == ["run_completed"]


async def test_unknown_cache_asks_for_the_history(stream: Stream) -> None:
    """A tail without its beginning is of no use; pages are put together."""
    stream.say(run_grant=grant("chain", [], first_index=3, length=4))
    need = await stream.next("need_history")
    assert need.first_index == 0

    history = [started("chain", arguments(5))]
    page = worker_pb2.HistoryPage(lease=lease(), first_index=0, events=history)
    stream.say(history_page=page)
    need = await stream.next("need_history")
    assert need.first_index == 1
    double = history_pb2.Event(time_ms=1, signal_received=history_pb2.SignalReceived(name="unheard"))
    page = worker_pb2.HistoryPage(lease=lease(), first_index=1, events=[double] * 3)
    stream.say(history_page=page)

    commit = await stream.next("commit")
    assert kinds(commit)[:2] == ["task_scheduled", "task_completed"]


async def test_failed_attempt_is_recorded_and_made_again_when_due(stream: Stream) -> None:
    """The delay is the coordinator's timer; the count survives the lease."""
    stream.say(run_grant=grant("retried", [started("retried", arguments(5))]))
    commit = await stream.next("commit")
    assert kinds(commit) == ["task_scheduled", "task_attempt_failed"]
    assert (commit.drain, commit.idle) == (True, True)
    failed = commit.events[1].task_attempt_failed
    assert failed.attempt == 1
    assert failed.failure.type == "ValueError"
    assert failed.retry_at_ms == commit.events[1].time_ms + 10
    stream.say(commit_result=answer(commit, length=3, released=True))

    due = history_pb2.Event(time_ms=2, task_retry_due=history_pb2.TaskRetryDue(address=failed.address))
    stream.say(run_grant=grant("retried", [due], of=lease(epoch=2, nonce="n2"), first_index=3))
    closing = await stream.next("commit")
    assert kinds(closing) == ["task_completed", "run_completed"]
    assert closing.events[0].task_completed.attempt == 2


async def test_long_task_has_its_start_recorded(stream: Stream) -> None:
    """After a tenth of a second people can see it."""
    stream.say(run_grant=grant("waits", [started("waits")]))

    commit = await stream.next("commit")
    assert kinds(commit) == ["task_scheduled", "task_started"]
    assert not commit.drain
    assert commit.events[1].task_started.worker == "w1"


async def test_poke_drains_and_mail_comes_before_held_results(stream: Stream) -> None:
    """H1: the code sees inputs in the order of the history."""
    stream.say(run_grant=grant("waits", [started("waits")]))
    commit = await stream.next("commit")
    stream.say(commit_result=answer(commit, length=3), poke=worker_pb2.Poke(lease=lease()))
    drain = await stream.next("commit")
    assert (drain.drain, drain.idle) == (True, False)
    done = history_pb2.Event(
        time_ms=2,
        task_completed=history_pb2.TaskCompleted(
            address=commit.events[0].task_scheduled.address,
            output=common_pb2.Payload(data=b"null", encoding="json"),
            attempt=1,
        ),
    )
    stream.say(commit_result=answer(drain, length=4, drained=[done]))

    closing = await stream.next("commit")
    assert kinds(closing) == ["run_completed"]


async def test_poke_for_another_lease_is_ignored(stream: Stream) -> None:
    """It is about a lease that is over."""
    stream.say(run_grant=grant("waits", [started("waits")]))
    commit = await stream.next("commit")
    stream.say(poke=worker_pb2.Poke(lease=lease(nonce="other")), commit_result=answer(commit, length=3))
    stream.say(run_grant=grant("chain", [started("chain", arguments(1))], of=lease("1-run")))

    other = await stream.next("commit")
    assert other.lease.run_id == "1-run"


async def test_remote_task_is_dispatched_with_its_commit(stream: Stream) -> None:
    """The note is in the history, the spec goes beside it."""
    stream.say(run_grant=grant("remote", [started("remote", arguments(5))]))

    commit = await stream.next("commit")
    assert kinds(commit) == ["task_scheduled", "task_dispatched"]
    assert (commit.drain, commit.idle) == (True, True)
    (spec,) = commit.dispatches
    assert (spec.task, spec.queue, spec.workflow_id) == ("far", "default", "w-1")
    assert spec.retry.attempts_max == 3
    assert spec.attempt_timeout.seconds == 600


async def test_task_without_a_slot_is_dispatched(peer: Peer) -> None:
    """Fan-outs fill the local slots and spill."""
    async with serving(peer, slots=2):
        stream = await peer.stream()
        stream.say(run_grant=grant("fan_out", [started("fan_out", arguments(5))]))
        commit = await stream.next("commit")

    assert kinds(commit).count("task_scheduled") == 5
    assert kinds(commit).count("task_dispatched") == len(commit.dispatches) == 3


async def test_assigned_task_is_reported(stream: Stream) -> None:
    """Under its own lease."""
    mine = lease(address="far/1/1")
    spec = history_pb2.TaskSpec(
        address="far/1/1",
        task="far",
        input=common_pb2.Payload(data=arguments(7).encode(), encoding="json"),
    )
    stream.say(task_assignment=worker_pb2.TaskAssignment(lease=mine, spec=spec, attempt=1))

    assert (await stream.next("task_start")).lease == mine
    report = await stream.next("task_report")
    assert report.lease == mine
    assert report.output.data == b"7"
    stream.say(task_report_result=worker_pb2.TaskReportResult(lease=mine))


async def test_assigned_task_that_does_not_fit_fails_for_good(stream: Stream) -> None:
    """Trying again would not help."""
    bad = common_pb2.Payload(data=b'{"args":["seven"],"kwargs":{}}', encoding="json")
    spec = history_pb2.TaskSpec(address="far/1/1", task="far", input=bad)
    mine = lease(address="far/1/1")
    stream.say(task_assignment=worker_pb2.TaskAssignment(lease=mine, spec=spec, attempt=1))

    report = await stream.next("task_report")
    assert report.final
    assert report.failure.kind == common_pb2.FAILURE_KIND_PAYLOAD


async def test_unknown_task_is_handed_back(stream: Stream) -> None:
    """Refuse, don't guess."""
    mine = lease(address="no/1/1")
    spec = history_pb2.TaskSpec(address="no/1/1", task="no_such_task")
    stream.say(task_assignment=worker_pb2.TaskAssignment(lease=mine, spec=spec, attempt=1))

    assert (await stream.next("release")).lease == mine


async def test_bug_stalls_the_run_with_its_traceback(stream: Stream) -> None:
    """The input before it is recorded."""
    stream.say(run_grant=grant("buggy", [started("buggy", arguments(5))]))

    commit = await stream.next("commit")
    assert kinds(commit) == ["task_scheduled", "task_completed"]
    assert commit.stall.kind == common_pb2.FAILURE_KIND_BUG
    assert "no_such_method" in commit.stall.traceback


async def test_divergence_stalls_before_any_side_effect(stream: Stream) -> None:
    """The recorded call and the new one are named."""
    other = history_pb2.Event(
        time_ms=1,
        task_scheduled=history_pb2.TaskScheduled(
            address="gone/1/1", task="gone", input=common_pb2.Payload(data=b"{}", encoding="json")
        ),
    )
    stream.say(run_grant=grant("chain", [started("chain", arguments(5)), other]))

    commit = await stream.next("commit")
    assert not commit.events
    assert commit.stall.kind == common_pb2.FAILURE_KIND_DIVERGED
    assert "gone/1/1" in commit.stall.message


async def test_fenced_commit_drops_the_run(stream: Stream) -> None:
    """Nothing more is said under that lease, not even a release."""
    stream.say(run_grant=grant("chain", [started("chain", arguments(5))]))
    commit = await stream.next("commit")
    stream.say(commit_result=answer(commit, error=_status("FENCED")))
    stream.say(run_grant=grant("chain", [started("chain", arguments(1))], of=lease("1-run")))

    assert (await stream.next("commit")).lease.run_id == "1-run"


async def test_gap_drops_the_run_and_releases(stream: Stream) -> None:
    """H7: the store has forgotten a commit; somebody begins anew from what it has."""
    stream.say(run_grant=grant("chain", [started("chain", arguments(5))]))
    commit = await stream.next("commit")
    stream.say(commit_result=answer(commit, error=_status("GAP")))

    assert (await stream.next("release")).lease == lease()


async def test_new_grant_fences_the_old(stream: Stream) -> None:
    """H15: the old attempt's outcome does not enter the new lease."""
    stream.say(run_grant=grant("waits", [started("waits")]))
    await stream.next("commit")
    again = lease(epoch=2, nonce="n2")
    stream.say(run_grant=grant("waits", [started("waits")], of=again))

    commit = await stream.next("commit")
    assert commit.lease == again
    assert commit.number == 1


async def test_resume_lists_leases_and_repeats_what_is_unanswered(peer: Peer, stream: Stream) -> None:
    """H2, H3: byte for byte, before anything new."""
    stream.say(run_grant=grant("chain", [started("chain", arguments(5))]))
    commit = await stream.next("commit")
    stream.end()

    resumed = await peer.stream()
    assert peer.hellos[1].resume_incarnation == stream.incarnation
    assert list(peer.hellos[1].leases) == [lease()]
    assert await resumed.next("commit") == commit
    resumed.say(commit_result=answer(commit, length=4))
    assert (await resumed.next("commit")).number == 2


async def test_lost_lease_is_dropped_on_resume(peer: Peer, stream: Stream) -> None:
    """What was unanswered under it is not repeated."""
    stream.say(run_grant=grant("chain", [started("chain", arguments(5))]))
    await stream.next("commit")
    peer.lost = [lease()]
    stream.end()

    resumed = await peer.stream()
    resumed.say(run_grant=grant("chain", [started("chain", arguments(1))], of=lease("1-run")))
    assert (await resumed.next("commit")).lease.run_id == "1-run"


async def test_lost_session_begins_anew(peer: Peer, stream: Stream) -> None:
    """Everything is dropped; the next Hello resumes nothing."""
    stream.say(run_grant=grant("waits", [started("waits")]))
    await stream.next("commit")
    stream.say(renewed=worker_pb2.Renewed(error=_status("SESSION_LOST")))

    fresh = await peer.stream()
    assert not peer.hellos[1].resume_incarnation
    assert not peer.hellos[1].leases
    fresh.say(run_grant=grant("chain", [started("chain", arguments(1))], of=lease("1-run")))
    assert (await fresh.next("commit")).lease.run_id == "1-run"


async def test_draining_coordinator_is_left(peer: Peer, stream: Stream) -> None:
    """The session resumes elsewhere, here at the same address."""
    stream.say(drain=worker_pb2.Drain())

    await peer.stream()
    assert peer.hellos[1].resume_incarnation == stream.incarnation


async def test_drained_worker_hands_back_what_has_not_started(peer: Peer) -> None:
    """What runs is finished and recorded; what it asks for next is left to others."""
    async with serving(peer) as worker:
        stream = await peer.stream()
        stream.say(run_grant=grant("chain", [started("chain", arguments(5))]))
        commit = await stream.next("commit")
        worker.drain()
        await stream.next("drain")
        stream.say(commit_result=answer(commit, length=4))
        assert (await stream.next("release")).lease == lease()


async def test_work_on_its_way_to_a_draining_worker_is_handed_back(peer: Peer) -> None:
    """At once: what runs may take a while yet."""
    async with serving(peer, grace="1m") as worker:
        stream = await peer.stream()
        stream.say(run_grant=grant("waits", [started("waits")]))
        await stream.next("commit")
        worker.drain()
        await stream.next("drain")

        late = lease(run_id="late", address="far/1/1")
        spec = history_pb2.TaskSpec(
            address="far/1/1",
            task="far",
            input=common_pb2.Payload(data=arguments(7).encode(), encoding="json"),
        )
        stream.say(task_assignment=worker_pb2.TaskAssignment(lease=late, spec=spec, attempt=1))
        assert (await stream.next("release")).lease == late


async def test_a_run_whose_history_is_on_its_way_does_not_keep_a_worker_that_is_to_stop(peer: Peer) -> None:
    """It is handed back, and so is one that is granted meanwhile."""
    async with serving(peer) as worker:
        stream = await peer.stream()
        stream.say(run_grant=grant("chain", [], first_index=3, length=4))
        await stream.next("need_history")
        worker.stop()

        assert (await stream.next("release")).lease == lease()
        meanwhile = lease(run_id="meanwhile")
        stream.say(run_grant=grant("waits", [started("waits")], of=meanwhile))
        assert (await stream.next("release")).lease == meanwhile


async def test_grace_ends_what_does_not(peer: Peer) -> None:
    """A task that never ends is cancelled and its run handed back."""
    async with serving(peer, grace="50ms") as worker:
        stream = await peer.stream()
        stream.say(run_grant=grant("waits", [started("waits")]))
        commit = await stream.next("commit")
        stream.say(commit_result=answer(commit, length=3))
        worker.drain()
        assert (await stream.next("release")).lease == lease()


async def test_refused_worker_ends_with_the_reason(peer: Peer) -> None:
    """There is no point in trying again."""
    peer.refusal = grpc.StatusCode.FAILED_PRECONDITION, "this coordinator speaks revisions 7 to 9"
    worker = Worker(collect([flows]), load_settings(address=peer.address))

    with pytest.raises(AikiError, match="revisions 7 to 9"):
        await worker.run()


def _status(reason: str) -> Any:
    status = status_pb2.Status(code=9, message=reason.lower())
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="aiki"))
    return status


async def test_ready_means_connected_and_not_draining(peer: Peer) -> None:
    """Told over HTTP from the session's thread, with the reason."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    async with serving(peer, http=address) as worker, aiohttp.ClientSession() as session:

        async def ask(path: str) -> tuple[int, str]:
            async with session.get(f"http://{address}{path}") as answer:
                return answer.status, await answer.text()

        async def is_ready() -> bool:
            return (await ask("/readyz"))[0] == 200

        await peer.stream()
        await eventually(is_ready, "the worker is ready")
        assert await ask("/livez") == (200, "alive\n")

        worker.drain()

        status, text = await ask("/readyz")
        assert (status, "draining" in text) == (503, True)
