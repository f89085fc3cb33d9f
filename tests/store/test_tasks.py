"""Remote tasks and timers: dispatched, leased, ended, retried, cancelled; repeated and stale calls."""

from dataclasses import replace
from typing import Any

from aiki_server.core.runs import (
    Attention,
    Begun,
    Committed,
    Completed,
    DispatchedTask,
    Effects,
    Fenced,
    Fired,
    Granted,
    HeldTask,
    LeaseToken,
    NotReady,
    Released,
    Retrying,
    RunState,
    Taken,
    TaskAttention,
    TaskState,
    TimerKind,
)
from aiki_server.store import Stores
from tests.support.store import INCARNATION, NAMESPACE, a_grant, a_run

ADDRESS = "charge/abc|def/1"
WORKER = "other.session.1"


async def committed(store: Stores, token: LeaseToken, number: int, effects: Effects) -> Committed:
    outcome = await store.runs.commit(
        token=token,
        incarnation=INCARNATION,
        number=number,
        events=[b"commands"],
        effects=effects,
        namespace=NAMESPACE,
    )
    assert isinstance(outcome, Committed)
    return outcome


async def dispatched(store: Stores, *, deadline_ms: int = 0, attempts_made: int = 0) -> LeaseToken:
    """A run with one remote task; the run's lease, held."""
    token = await a_grant(store, await a_run(store))
    task = DispatchedTask(
        address=ADDRESS,
        handler="t:charge",
        queue="gpu",
        spec=b"spec",
        attempts_made=attempts_made,
        deadline_ms=deadline_ms,
    )
    await committed(store, token, 1, Effects(dispatches=[task]))
    return token


async def taken(store: Stores, run_id: str, nonce: str = "t1", incarnation: str = WORKER) -> Taken:
    outcome = await store.tasks.take(run_id=run_id, address=ADDRESS, incarnation=incarnation, nonce=nonce)
    assert isinstance(outcome, Taken)
    return outcome


def partition(run_id: str) -> int:
    return int(run_id.partition("-")[0])


async def test_a_task_is_taken_once(store: Stores) -> None:
    """A repeat by nonce gets the same answer, everybody else finds it taken."""
    run = await dispatched(store, attempts_made=1)
    first = await taken(store, run.run_id)
    assert first == Taken(LeaseToken(run.run_id, ADDRESS, 1, "t1"), b"spec", 2, 0)
    assert await taken(store, run.run_id) == first

    take: dict[str, Any] = {"run_id": run.run_id, "address": ADDRESS}
    assert await store.tasks.take(**take, incarnation=INCARNATION, nonce="t2") == NotReady()
    assert await store.tasks.take(**take, incarnation=INCARNATION, nonce="t1") == NotReady()
    assert (
        await store.tasks.take(run_id=run.run_id, address="no", incarnation=WORKER, nonce="t3") == NotReady()
    )


async def test_a_result_is_recorded_once(store: Stores) -> None:
    """A repeat gets the same answer; a second result, and one by a stale lease, change nothing."""
    run = await dispatched(store)
    old = (await taken(store, run.run_id, "t1")).token
    await store.tasks.release(token=old, incarnation=WORKER)
    lease = (await taken(store, run.run_id, "t2")).token
    stale = await store.tasks.complete(token=old, incarnation=WORKER, event=b"stale")
    assert stale == Fenced(lease, WORKER)

    for _ in range(3):
        done = await store.tasks.complete(token=lease, incarnation=WORKER, event=b"result")
        assert isinstance(done, Completed)
        assert done.attention.holder == run
    assert await store.tasks.complete(token=old, incarnation=WORKER, event=b"stale") == Fenced(None, "")
    assert await store.tasks.list(run_id=run.run_id) == []
    drained = await store.runs.commit(
        token=run, incarnation=INCARNATION, number=2, events=[], effects=Effects(), drain=True
    )
    assert isinstance(drained, Committed)
    assert drained.drained == [b"result"]


async def test_a_result_wakes_a_waiting_run(store: Stores) -> None:
    run = await dispatched(store)
    await store.runs.commit(
        token=run, incarnation=INCARNATION, number=2, events=[], effects=Effects(), drain=True, idle=True
    )
    lease = (await taken(store, run.run_id)).token
    done = await store.tasks.complete(token=lease, incarnation=WORKER, event=b"result")

    assert isinstance(done, Completed)
    assert (done.attention.holder, done.attention.fresh) == (None, True)
    granted = await store.runs.grant(run_id=run.run_id, incarnation=WORKER, nonce="n9")
    assert isinstance(granted, Granted)
    assert granted.events[-1] == b"result"


async def test_a_released_task_is_ready_again_and_used_no_attempt(store: Stores) -> None:
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    released = await store.tasks.release(token=lease, incarnation=WORKER)
    assert released == Released(TaskAttention(run.run_id, ADDRESS, NAMESPACE, "gpu", "t:charge"))
    assert await store.tasks.release(token=lease, incarnation=WORKER) == Fenced(None, "")
    assert (
        await store.tasks.take(run_id=run.run_id, address=ADDRESS, incarnation=WORKER, nonce="t1")
        == NotReady()
    )

    again = await taken(store, run.run_id, "t2")
    assert (again.token.epoch, again.attempt) == (2, 1)


async def test_a_failed_attempt_comes_back_after_its_delay(store: Stores) -> None:
    """By a timer that is set with it; a repeated report changes nothing, not even after the next take."""
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    due_ms = store.clock.now_ms() + 60_000
    retry = {"token": lease, "incarnation": WORKER, "failure": b"failure"}
    for _ in range(2):
        assert await store.tasks.retry(due_ms=due_ms, **retry) == Retrying(due_ms)  # type: ignore[arg-type]  # shared arguments
    (task,) = await store.tasks.list(run_id=run.run_id)
    assert (task.state, task.attempts_made, task.failure, task.due_ms) == (
        TaskState.BACKOFF,
        1,
        b"failure",
        due_ms,
    )
    (timer,) = await store.timers.due(partition=partition(run.run_id), until_ms=due_ms)
    assert await store.timers.fire(timer, b"fired") is None

    store.clock.advance(61_000)
    assert await store.timers.fire(timer, b"fired") == Fired(
        TaskAttention(run.run_id, ADDRESS, NAMESPACE, "gpu", "t:charge")
    )
    assert await store.timers.fire(timer, b"fired") is None
    assert (await taken(store, run.run_id, "t2")).attempt == 2
    assert await store.tasks.retry(due_ms=due_ms, **retry) == Retrying(due_ms)  # type: ignore[arg-type]  # shared arguments
    (task,) = await store.tasks.list(run_id=run.run_id)
    assert (task.state, task.attempts_made) == (TaskState.LEASED, 1)


async def test_a_task_out_of_time_fails_wherever_it_is(store: Stores) -> None:
    """Its holder is named, so that it can be told; its report is refused."""
    deadline_ms = store.clock.now_ms() + 60_000
    run = await dispatched(store, deadline_ms=deadline_ms)
    lease = (await taken(store, run.run_id)).token
    (timer,) = await store.timers.due(partition=partition(run.run_id), until_ms=deadline_ms)
    store.clock.advance(61_000)

    fired = await store.timers.fire(timer, b"fired")
    assert isinstance(fired, Fired)
    assert isinstance(fired.attention, Attention)
    assert fired.cancelled == HeldTask(lease, WORKER)
    assert await store.tasks.complete(token=lease, incarnation=WORKER, event=b"late") == Fenced(None, "")
    drained = await store.runs.commit(
        token=run, incarnation=INCARNATION, number=2, events=[], effects=Effects(), drain=True
    )
    assert isinstance(drained, Committed)
    assert drained.drained == [b"fired"]
    assert await store.timers.due(partition=partition(run.run_id), until_ms=2**50) == []


async def test_a_deadline_outlives_a_backoff(store: Stores) -> None:
    """One timer a task: at the backoff's end, and after that at the deadline."""
    deadline_ms = store.clock.now_ms() + 100_000
    run = await dispatched(store, deadline_ms=deadline_ms)
    lease = (await taken(store, run.run_id)).token
    await store.tasks.retry(
        token=lease, incarnation=WORKER, due_ms=store.clock.now_ms() + 10_000, failure=b"f"
    )
    store.clock.advance(11_000)
    where = partition(run.run_id)
    (timer,) = await store.timers.due(partition=where, until_ms=store.clock.now_ms())
    assert isinstance(await store.timers.fire(timer, b"fired"), Fired)
    (timer,) = await store.timers.due(partition=where, until_ms=2**50)
    assert timer.due_ms == deadline_ms


async def test_a_cancelled_task_is_refused(store: Stores) -> None:
    """The commit names the lease to cancel; afterwards the task can be neither ended nor taken."""
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    done = await committed(store, run, 2, Effects(cancelled_tasks=[ADDRESS]))
    assert done.cancelled_leases == [HeldTask(lease, WORKER)]

    assert await store.tasks.complete(token=lease, incarnation=WORKER, event=b"r") == Fenced(None, "")
    assert (
        await store.tasks.take(run_id=run.run_id, address=ADDRESS, incarnation=WORKER, nonce="t2")
        == NotReady()
    )
    assert await store.sweep.held(partition=partition(run.run_id), incarnation=WORKER) == []


async def test_closing_a_run_cancels_its_tasks(store: Stores) -> None:
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    done = await committed(store, run, 2, Effects(closing=RunState.COMPLETED))

    assert done.cancelled_leases == [HeldTask(lease, WORKER)]
    assert await store.tasks.complete(token=lease, incarnation=WORKER, event=b"r") == Fenced(None, "")
    assert await store.sweep.ready(partition=partition(run.run_id), before_ms=2**50) == []


async def test_a_task_dispatched_twice_is_there_once(store: Stores) -> None:
    """A repeated dispatch of an address leaves the task as it is."""
    run = await dispatched(store)
    await taken(store, run.run_id)
    task = DispatchedTask(address=ADDRESS, handler="t:other", queue="q", spec=b"other")
    await committed(store, run, 2, Effects(dispatches=[task]))

    (found,) = await store.tasks.list(run_id=run.run_id)
    assert (found.handler, found.state) == ("t:charge", TaskState.LEASED)


async def test_the_start_of_an_attempt_is_recorded_while_it_is_leased(store: Stores) -> None:
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    assert await store.tasks.start(token=lease)
    assert await store.tasks.start(token=lease)
    (task,) = await store.tasks.list(run_id=run.run_id)
    assert task.started

    assert not await store.tasks.start(token=replace(lease, nonce="x"))
    await store.tasks.release(token=lease, incarnation=WORKER)
    assert not await store.tasks.start(token=lease)


async def test_an_adopted_task_is_the_new_incarnations(store: Stores) -> None:
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    for _ in range(2):
        assert await store.runs.adopt(token=lease, old=WORKER, new="new.session.2")

    assert await store.tasks.complete(token=lease, incarnation=WORKER, event=b"r") == Fenced(
        lease, "new.session.2"
    )
    done = await store.tasks.complete(token=lease, incarnation="new.session.2", event=b"r")
    assert isinstance(done, Completed)
    assert not await store.runs.adopt(token=lease, old="new.session.2", new=WORKER)


async def test_a_timer_fires_once_and_not_before_its_time(store: Stores) -> None:
    """What it makes is mail, and it wakes a waiting run."""
    token = await a_grant(store, await a_run(store))
    due_ms = store.clock.now_ms() + 60_000
    timers = [("sleep/60000ms/1", due_ms, TimerKind.TIMER), ("charge/a/1", due_ms, TimerKind.RETRY)]
    await store.runs.commit(
        token=token,
        incarnation=INCARNATION,
        number=1,
        events=[b"c"],
        effects=Effects(timers=timers),
        drain=True,
        idle=True,
    )
    where = partition(token.run_id)
    assert await store.sweep.next_due(partition=where) == due_ms
    due = await store.timers.due(partition=where, until_ms=due_ms)
    assert {(timer.address, timer.kind) for timer in due} == {(a, kind) for a, _, kind in timers}
    assert [await store.timers.fire(timer, b"fired") for timer in due] == [None, None]

    store.clock.advance(60_001)
    fired = [await store.timers.fire(timer, b"fired") for timer in due * 2]
    assert [one is not None for one in fired] == [True, True, False, False]
    granted = await store.runs.grant(run_id=token.run_id, incarnation=INCARNATION, nonce="n2")
    assert isinstance(granted, Granted)
    assert granted.events[2:] == [b"fired", b"fired"]


async def test_a_cancelled_timer_and_one_of_a_closed_run_do_nothing(store: Stores) -> None:
    token = await a_grant(store, await a_run(store))
    due_ms = store.clock.now_ms()
    timers = [("one", due_ms, TimerKind.TIMER), ("two", due_ms, TimerKind.TIMER)]
    await committed(store, token, 1, Effects(timers=timers))
    where = partition(token.run_id)
    first, second = await store.timers.due(partition=where, until_ms=due_ms)
    await committed(store, token, 2, Effects(cancelled_timers=[("one", TimerKind.TIMER)]))
    assert await store.timers.fire(first, b"fired") is None

    await committed(store, token, 3, Effects(closing=RunState.FAILED))
    assert await store.timers.fire(second, b"fired") is None
    assert await store.timers.due(partition=where, until_ms=2**50) == []


async def test_a_task_that_runs_at_most_once_is_not_released_once_it_has_begun(store: Stores) -> None:
    """Before that it is; afterwards whoever releases it learns that it has begun, and ends it."""
    run = await dispatched(store)
    first = (await taken(store, run.run_id, "first")).token
    assert isinstance(await store.tasks.release(token=first, incarnation=WORKER), Released)
    token = (await taken(store, run.run_id, "second")).token
    assert await store.tasks.start(token=token, once=True)
    assert await store.tasks.start(token=token, once=True)
    assert not await store.tasks.start(token=first, once=True)

    for _ in range(2):
        begun = await store.tasks.release(token=token, incarnation=WORKER)
        assert begun == Begun(token, WORKER, "")
    assert isinstance(
        await store.tasks.take(run_id=run.run_id, address=ADDRESS, incarnation="another.s.1", nonce="third"),
        NotReady,
    )
    assert isinstance(
        await store.tasks.complete(token=token, incarnation=WORKER, event=b"unknown"), Completed
    )
    assert isinstance(await store.tasks.release(token=token, incarnation=WORKER), Fenced)
