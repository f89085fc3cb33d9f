"""Runs whose time is up: noted with the start, closed as they were read; repeated and stale calls."""

from dataclasses import replace

from aiki_server.core.runs import (
    Changed,
    Fenced,
    NotFound,
    RunRecord,
    RunState,
    Started,
    Terminated,
    WrongState,
)
from aiki_server.store import Stores
from tests.store.runs import commit, history, signal, state
from tests.support.store import INCARNATION, NAMESPACE, a_grant, a_start

DUE_MS = 5


async def a_late_run(store: Stores, workflow_id: str = "late") -> str:
    outcome = await store.runs.start(replace(a_start(workflow_id), deadline_ms=DUE_MS))
    assert isinstance(outcome, Started)
    return outcome.run_id


async def record(store: Stores, run_id: str) -> RunRecord:
    found = await store.runs.get(namespace=NAMESPACE, run_id=run_id)
    assert found is not None
    return found


async def due(store: Stores, run_id: str, until_ms: int = DUE_MS) -> list[tuple[str, str]]:
    return await store.deadlines.due(partition=int(run_id.partition("-")[0]), until_ms=until_ms)


async def test_a_start_notes_when_its_time_is_up(store: Stores) -> None:
    """Only if it has one; it can be moved, and dropped, and does not come again by a late move."""
    run_id = await a_late_run(store)
    forever = await store.runs.start(a_start("forever"))
    assert isinstance(forever, Started)
    assert await due(store, run_id, DUE_MS - 1) == []
    assert await due(store, run_id) == [(run_id, NAMESPACE)]
    assert (forever.run_id, NAMESPACE) not in await due(store, forever.run_id, 10**13)

    await store.deadlines.move(run_id=run_id, namespace=NAMESPACE, due_ms=DUE_MS + 1)
    assert await due(store, run_id) == []
    await store.deadlines.drop(run_id=run_id, namespace=NAMESPACE)
    await store.deadlines.move(run_id=run_id, namespace=NAMESPACE, due_ms=DUE_MS)
    assert await due(store, run_id) == []


async def test_a_run_is_timed_out_once(store: Stores) -> None:
    """It is listed as timed out, gone from what is due, and not closed again."""
    run_id = await a_late_run(store)
    read = await record(store, run_id)
    outcome = await store.deadlines.time_out(read, b"timed out")
    assert isinstance(outcome, Terminated)
    assert outcome.ended is None
    assert await state(store, run_id) is RunState.TIMED_OUT
    assert await history(store, run_id) == [b"timed out"]
    assert await due(store, run_id) == []
    listed, _ = await store.listing.page(namespace=NAMESPACE, states=[RunState.TIMED_OUT], size=10)
    assert [found.run_id for found in listed] == [run_id]

    assert await store.deadlines.time_out(read, b"again") == WrongState(RunState.TIMED_OUT)
    assert await history(store, run_id) == [b"timed out"]
    assert await store.deadlines.time_out(replace(read, run_id=f"{run_id}x"), b"?") == NotFound()


async def test_a_run_that_has_moved_on_is_not_timed_out(store: Stores) -> None:
    """By mail, by a worker that took it, by one that took it and gave it back."""
    run_id = await a_late_run(store)
    before_mail = await record(store, run_id)
    await signal(store, run_id, b"signal")
    assert await store.deadlines.time_out(before_mail, b"timed out") == Changed()

    before_grant = await record(store, run_id)
    token = await a_grant(store, run_id)
    held = await record(store, run_id)
    for stale in (before_grant, held):
        assert await store.deadlines.time_out(stale, b"timed out") == Changed()
    await store.runs.release(token=token, incarnation=INCARNATION)
    assert await store.deadlines.time_out(before_grant, b"timed out") == Changed()


async def test_who_had_it_is_fenced(store: Stores) -> None:
    """A worker that gave it back and comes late changes nothing."""
    run_id = await a_late_run(store)
    token = await a_grant(store, run_id)
    await store.runs.release(token=token, incarnation=INCARNATION)
    assert isinstance(await store.deadlines.time_out(await record(store, run_id), b"timed out"), Terminated)
    assert isinstance(await commit(store, token, 1, b"late"), Fenced)
    assert (await history(store, run_id))[-1] == b"timed out"
