"""Attempts that put off their outcome, and those that tell how far they are; repeated and stale calls."""

from typing import Any

from aiki_server.core.runs import Completed, Deferred, Fenced, LeaseToken, NotReady, Retrying
from aiki_server.store import Stores
from tests.store.runs import history
from tests.store.test_tasks import ADDRESS, WORKER, dispatched, partition, taken
from tests.support.store import a_grant

FAR_MS = 10**13
TOKEN = ""
"""The incarnation of whoever has the token of an attempt."""


async def defer(store: Stores, lease: LeaseToken, until_ms: int = FAR_MS) -> Deferred | Fenced:
    return await store.tasks.defer(token=lease, incarnation=WORKER, until_ms=until_ms)


async def test_an_outcome_that_is_put_off(store: Stores) -> None:
    """The lease is free at once; nobody else is given the task; its timer waits for the outcome."""
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    assert await defer(store, lease) == Deferred(FAR_MS)
    take: dict[str, Any] = {"run_id": run.run_id, "address": ADDRESS}
    assert await store.tasks.take(**take, incarnation=WORKER, nonce="t2") == NotReady()
    due = await store.timers.due(partition=partition(run.run_id), until_ms=FAR_MS)
    assert [(timer.address, timer.due_ms) for timer in due] == [(ADDRESS, FAR_MS)]

    done = await store.tasks.complete(token=lease, incarnation=TOKEN, event=b"result")
    assert isinstance(done, Completed)
    assert await store.timers.due(partition=partition(run.run_id), until_ms=FAR_MS) == []


async def test_putting_off_twice_is_once(store: Stores) -> None:
    """Also when the outcome came between the two, or before the first."""
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    assert await defer(store, lease, 0) == Deferred(0)
    assert isinstance(await defer(store, lease, FAR_MS), Deferred)
    assert await store.timers.due(partition=partition(run.run_id), until_ms=FAR_MS) == []
    await store.tasks.complete(token=lease, incarnation=TOKEN, event=b"result")
    assert isinstance(await defer(store, lease), Deferred)
    await store.tasks.complete(token=lease, incarnation=TOKEN, event=b"result")

    await store.runs.release(token=run, incarnation="coordinator.session.1")
    await a_grant(store, run.run_id, "n2")
    assert (await history(store, run.run_id)).count(b"result") == 1


async def test_a_lease_that_is_over_puts_nothing_off(store: Stores) -> None:
    """It is told whose the task is now."""
    run = await dispatched(store)
    old = (await taken(store, run.run_id, "t1")).token
    await store.tasks.release(token=old, incarnation=WORKER)
    assert await defer(store, old) == Fenced(None, "")
    lease = (await taken(store, run.run_id, "t2")).token
    assert await defer(store, old) == Fenced(lease, WORKER)
    assert await store.timers.due(partition=partition(run.run_id), until_ms=FAR_MS) == []
    assert isinstance(await store.tasks.complete(token=lease, incarnation=WORKER, event=b"result"), Completed)


async def test_a_retry_ends_what_was_put_off(store: Stores) -> None:
    """The token of the attempt before is worth nothing in the next."""
    run = await dispatched(store)
    lease = (await taken(store, run.run_id)).token
    await defer(store, lease)
    again = await store.tasks.retry(token=lease, incarnation=TOKEN, due_ms=1, failure=b"late")
    assert again == Retrying(1)
    assert isinstance(await store.tasks.complete(token=lease, incarnation=TOKEN, event=b"late"), Fenced)
    assert isinstance(await defer(store, lease), Fenced)


async def test_the_next_attempt_finds_the_newest_checkpoint(store: Stores) -> None:
    """The same twice is the same; it stays over a retry, and goes when the task ends."""
    run = await dispatched(store)
    lease = (await taken(store, run.run_id, "t1")).token
    for checkpoint in (b"one", b"two", b"two"):
        assert await store.tasks.progress(token=lease, incarnation=WORKER, checkpoint=checkpoint)
    await store.tasks.release(token=lease, incarnation=WORKER)

    second = await taken(store, run.run_id, "t2")
    assert second.checkpoint == b"two"
    await store.tasks.complete(token=second.token, incarnation=WORKER, event=b"result")
    assert not await store.tasks.progress(token=second.token, incarnation=WORKER, checkpoint=b"three")


async def test_a_lease_that_is_over_keeps_no_checkpoint(store: Stores) -> None:
    """Neither that of a worker before, nor that of one that never had it, nor one of a task that never was."""
    run = await dispatched(store)
    old = (await taken(store, run.run_id, "t1")).token
    await store.tasks.progress(token=old, incarnation=WORKER, checkpoint=b"one")
    await store.tasks.release(token=old, incarnation=WORKER)
    lease = (await taken(store, run.run_id, "t2")).token

    assert not await store.tasks.progress(token=old, incarnation=WORKER, checkpoint=b"stale")
    assert not await store.tasks.progress(token=lease, incarnation="third.session.1", checkpoint=b"not its")
    nowhere = LeaseToken(run.run_id, "no", 1, "t1")
    assert not await store.tasks.progress(token=nowhere, incarnation=WORKER, checkpoint=b"?")
    await store.tasks.release(token=lease, incarnation=WORKER)
    assert (await taken(store, run.run_id, "t3")).checkpoint == b"one"
