"""Leases that were lost with dead workers: who runs alone, and whose losses are kept."""

from aiki_server.core.runs import (
    DispatchedTask,
    Effects,
    Granted,
    LeaseToken,
    Released,
    RunsAlone,
    Taken,
    TaskState,
)
from aiki_server.store import Stores
from aiki_server.store.sessions import Losses
from tests.support.store import INCARNATION, NAMESPACE, a_grant, a_run

ADDRESS = "task"


async def dispatched(store: Stores, token: LeaseToken) -> None:
    """The run has a remote task."""
    task = DispatchedTask(
        address=ADDRESS, handler="t:charge", queue="gpu", spec=b"spec", attempts_made=0, deadline_ms=0
    )
    await store.runs.commit(
        token=token,
        incarnation=INCARNATION,
        number=1,
        events=[b"commands"],
        effects=Effects(dispatches=[task]),
        namespace=NAMESPACE,
    )


async def take(store: Stores, run_id: str, number: int, *, alone: bool = False) -> Taken | object:
    """Ask for the task for worker *number*."""
    return await store.tasks.take(
        run_id=run_id, address=ADDRESS, incarnation=f"worker.{number}", nonce=f"n{number}", alone=alone
    )


async def lose(store: Stores, run_id: str, number: int, *, alone: bool = False) -> None:
    """Worker *number* takes it and dies; its second sweeper finds nothing left to count."""
    answer = await take(store, run_id, number, alone=alone)
    assert isinstance(answer, Taken)
    for _ in range(2):
        await store.tasks.release(token=answer.token, incarnation=f"worker.{number}", lost=True)


async def test_a_task_that_lost_two_leases_runs_alone(store: Stores) -> None:
    """It stays ready for a session that has nothing else, and starts with being taken."""
    token = await a_grant(store, await a_run(store))
    await dispatched(store, token)
    await lose(store, token.run_id, 1)
    await lose(store, token.run_id, 2)

    assert await take(store, token.run_id, 3) == RunsAlone("gpu", "t:charge")
    assert isinstance(await take(store, token.run_id, 4, alone=True), Taken)
    record = await store.tasks.get(run_id=token.run_id, address=ADDRESS)
    assert record is not None
    assert (record.started, record.is_alone, record.deaths) == (True, True, ())


async def test_only_what_is_lost_alone_is_kept(store: Stores) -> None:
    """And a task that was adopted is not alone any more: its new coordinator gives its worker more."""
    token = await a_grant(store, await a_run(store))
    await dispatched(store, token)
    for number in (1, 2):
        await lose(store, token.run_id, number)
    for number in (3, 4):
        await lose(store, token.run_id, number, alone=True)
    answer = await take(store, token.run_id, 5, alone=True)
    assert isinstance(answer, Taken)
    await store.runs.adopt(token=answer.token, old="worker.5", new="worker.6")
    await store.tasks.release(token=answer.token, incarnation="worker.6", lost=True)

    record = await store.tasks.get(run_id=token.run_id, address=ADDRESS)
    assert record is not None
    assert (record.state, record.deaths) == (TaskState.READY, ("worker.3", "worker.4"))
    assert record.attempts_made == 0


async def test_a_run_tells_its_next_holder_that_it_was_lost(store: Stores) -> None:
    """Until it waits again; what it dispatches meanwhile counts the loss as its own."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    released = await store.runs.release(token=token, incarnation=INCARNATION, lost=True)
    assert isinstance(released, Released)

    again = await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce="second")
    assert isinstance(again, Granted)
    assert again.losses == 1
    await dispatched(store, again.token)
    await store.runs.commit(
        token=again.token,
        incarnation=INCARNATION,
        number=2,
        events=[],
        effects=Effects(),
        drain=True,
        idle=True,
        namespace=NAMESPACE,
    )
    await lose(store, run_id, 1)
    assert isinstance(await take(store, run_id, 2), RunsAlone)
    alone = await take(store, run_id, 3, alone=True)
    assert isinstance(alone, Taken)
    await store.tasks.complete(token=alone.token, incarnation="worker.3", event=b"done")

    third = await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce="third")
    assert isinstance(third, Granted)
    assert third.losses == 0


async def test_losses_are_remembered_with_who_came_back(store: Stores) -> None:
    """The lost session is gone from those that are alive."""
    await store.sessions.add(incarnation="dead", ttl_ms=1000)
    await store.sessions.lose(incarnation="dead")
    await store.sessions.returned(incarnation="dead")

    losses = await store.sessions.lost()
    assert losses == Losses(frozenset({"dead"}), frozenset({"dead"}))
    assert "dead" not in await store.sessions.snapshot()
