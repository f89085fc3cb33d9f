"""Granting, committing and releasing a run, each with its repeated and its stale call."""

from dataclasses import replace

import pytest

from aiki_server.core.runs import (
    Attention,
    CacheMark,
    Committed,
    Effects,
    Fenced,
    Gap,
    Granted,
    NotFound,
    NotReady,
    NotStalled,
    Released,
    RunState,
)
from aiki_server.store import Stores
from tests.store.runs import OTHER, commit, history, signal, state
from tests.support.store import INCARNATION, NAMESPACE, a_grant, a_run, a_start


async def test_a_repeated_grant_gets_the_same_answer(store: Stores) -> None:
    """The nonce tells a repeat; any other caller finds the run taken."""
    run_id = await a_run(store)
    first = await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce="n1")
    assert isinstance(first, Granted)
    assert (first.length, first.first_index, first.events) == (1, 0, [b"started"])
    await signal(store, run_id, b"later")

    again = await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce="n1")
    assert isinstance(again, Granted)
    assert (again.token, again.length, again.events) == (first.token, 1, [b"started"])
    assert again.mail_waits
    assert isinstance(await store.runs.grant(run_id=run_id, incarnation=OTHER, nonce="n2"), NotReady)
    assert isinstance(await store.runs.grant(run_id=run_id, incarnation=OTHER, nonce="n1"), NotReady)


async def test_a_late_copy_of_a_grant_does_not_grant_again(store: Stores) -> None:
    """The lease of that nonce is over: the copy leases nothing, although the run is ready."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id, "n1")
    await store.runs.release(token=token, incarnation=INCARNATION)

    assert isinstance(await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce="n1"), NotReady)
    assert (await a_grant(store, run_id, "n2")).epoch == 2


async def test_a_run_that_needs_nothing_is_not_granted(store: Stores) -> None:
    """A waiting run, a closed one, and one that never was."""
    run_id = await a_run(store)
    await commit(store, await a_grant(store, run_id), 1, b"a", drain=True, idle=True)
    assert isinstance(await store.runs.grant(run_id=run_id, incarnation=OTHER, nonce="n2"), NotReady)

    nobody = a_start("never").run_id
    assert isinstance(await store.runs.grant(run_id=nobody, incarnation=OTHER, nonce="n2"), NotReady)


async def test_a_commit_is_applied_once_however_often_it_comes(store: Stores) -> None:
    """Each copy gets the answer of the first one, the mail it drained included."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await signal(store, run_id, b"signal")
    first = await commit(store, token, 1, b"a", b"b", drain=True)
    assert first == Committed(
        4, [b"signal"], mail_waits=False, released=False, closed=False, waiters=[], cancelled_leases=[]
    )

    assert await commit(store, token, 1, b"a", b"b", drain=True) == first
    assert isinstance(await commit(store, token, 2, b"c"), Committed)
    older = await commit(store, token, 1, b"a", b"b", drain=True)
    assert isinstance(older, Committed)
    assert older.drained == []
    assert await history(store, run_id) == [b"started", b"a", b"b", b"signal", b"c"]


async def test_a_missing_commit_is_a_gap(store: Stores) -> None:
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await commit(store, token, 1, b"a")

    assert await commit(store, token, 3, b"c") == Gap(1)
    assert await history(store, run_id) == [b"started", b"a"]


@pytest.mark.parametrize("closing", [None, RunState.COMPLETED, RunState.FAILED])
async def test_the_commit_that_ends_a_lease_can_be_repeated(store: Stores, closing: RunState | None) -> None:
    """A repeat of a releasing or closing commit is answered alike, until the next grant."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    drain = closing is None
    first = await commit(store, token, 1, b"end", drain=drain, idle=drain, closing=closing)
    assert isinstance(first, Committed)
    assert (first.released, first.closed) == (True, closing is not None)

    assert await commit(store, token, 1, b"end", drain=drain, idle=drain, closing=closing) == first
    assert isinstance(await commit(store, token, 2, b"more"), Fenced)
    assert await history(store, run_id) == [b"started", b"end"]
    assert await state(store, run_id) is (closing or RunState.WAITING)


async def test_a_stale_lease_writes_nothing(store: Stores) -> None:
    """Neither an old epoch nor a right epoch with another nonce commits or releases."""
    run_id = await a_run(store)
    old = await a_grant(store, run_id, "n1")
    await store.runs.release(token=old, incarnation=INCARNATION)
    new = await a_grant(store, run_id, "n2")

    for stale in (old, replace(new, nonce="n1"), replace(old, nonce="n2")):
        assert await commit(store, stale, 1, b"x") == Fenced(new, INCARNATION)
        assert await store.runs.release(token=stale, incarnation=INCARNATION) == Fenced(new, INCARNATION)
    assert await history(store, run_id) == [b"started"]
    assert isinstance(await commit(store, new, 1, b"y"), Committed)


async def test_idle_with_mail_keeps_the_lease(store: Stores) -> None:
    """Mail that came before the idle commit is drained by it, and the run goes on."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await signal(store, run_id, b"signal")

    done = await commit(store, token, 1, b"a", drain=True, idle=True)
    assert isinstance(done, Committed)
    assert (done.released, done.drained) == (False, [b"signal"])
    idle = await commit(store, token, 2, drain=True, idle=True)
    assert isinstance(idle, Committed)
    assert idle.released


async def test_a_drain_is_bounded_by_number_and_by_size(store: Stores) -> None:
    """At most 100 inputs and 256 kB, at least one; the answer says that more waits."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    for number in range(101):
        await signal(store, run_id, b"small", f"s{number}")
    for number in range(2):
        await signal(store, run_id, b"x" * 200_000, f"l{number}")

    counts: list[tuple[int, bool]] = []
    for number in range(1, 4):
        done = await commit(store, token, number, drain=True)
        assert isinstance(done, Committed)
        counts.append((len(done.drained), done.mail_waits))
    assert counts == [(100, True), (2, True), (1, False)]


async def test_a_grant_sends_only_what_the_worker_lacks(store: Stores) -> None:
    """With the mark of the last acknowledged release the history starts there, otherwise at 0."""
    run_id = await a_run(store)
    await commit(store, await a_grant(store, run_id, "n1"), 1, b"a", drain=True, idle=True)
    await signal(store, run_id, b"signal")

    granted = await store.runs.grant(
        run_id=run_id, incarnation=INCARNATION, nonce="n2", cached=CacheMark(1, "n1", 2)
    )
    assert isinstance(granted, Granted)
    assert (granted.first_index, granted.events) == (2, [b"signal"])
    await store.runs.release(token=granted.token, incarnation=INCARNATION)
    wrong = await store.runs.grant(
        run_id=run_id, incarnation=INCARNATION, nonce="n3", cached=CacheMark(1, "other", 2)
    )
    assert isinstance(wrong, Granted)
    assert (wrong.first_index, wrong.events) == (0, [b"started", b"a", b"signal"])


async def test_a_long_history_comes_in_pages(store: Stores) -> None:
    """A page has at most about 1 MB; the rest is read on by index."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id, "n1")
    await commit(store, token, 1, *[b"x" * 300_000] * 5)
    await store.runs.release(token=token, incarnation=INCARNATION)

    granted = await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce="n2")
    assert isinstance(granted, Granted)
    assert (granted.length, len(granted.events)) == (6, 4)
    assert len(await store.runs.history(run_id=run_id, first=4, count=100)) == 2
    assert len(await store.runs.history(run_id=run_id, first=1, count=2)) == 2
    assert await store.runs.history(run_id=run_id, first=6, count=100) == []


async def test_release_makes_the_run_ready_again(store: Stores) -> None:
    """Its work is to be done by somebody else; a repeated release says that it is not held."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    released = await store.runs.release(token=token, incarnation=INCARNATION)

    assert isinstance(released, Released)
    assert isinstance(released.attention, Attention)
    assert (released.attention.handler, released.attention.holder, released.attention.fresh) == (
        "w:purchase:1",
        None,
        True,
    )
    assert await store.runs.release(token=token, incarnation=INCARNATION) == Fenced(None, "")
    assert await state(store, run_id) is RunState.RUNNING


async def test_an_adopted_lease_is_the_new_incarnations(store: Stores) -> None:
    """Commits go on under the same epoch, nonce and numbers; what the old incarnation says is refused."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await commit(store, token, 1, b"a")
    assert await store.runs.adopt(token=token, old=INCARNATION, new=OTHER)
    assert await store.runs.adopt(token=token, old=INCARNATION, new=OTHER)

    assert await commit(store, token, 2, b"b") == Fenced(token, OTHER)
    assert isinstance(await commit(store, token, 1, b"a", incarnation=OTHER), Committed)
    assert isinstance(await commit(store, token, 2, b"b", incarnation=OTHER), Committed)
    assert not await store.runs.adopt(token=replace(token, nonce="x"), old=OTHER, new="third")
    partition = int(run_id.partition("-")[0])
    assert await store.sweep.held(partition=partition, incarnation=INCARNATION) == []
    assert await store.sweep.held(partition=partition, incarnation=OTHER) == [token]


@pytest.mark.parametrize("run_id", ["", "nonsense", "9-0123456789abcdef0123", "0-0123456789abcdef0123"])
async def test_an_unknown_run_is_not_found(store: Stores, run_id: str) -> None:
    """Also when the id could not be one: no key of that name is ever made."""
    outcome = await store.runs.deliver(namespace=NAMESPACE, run_id=run_id, event=b"e", dedupe_id="d")
    assert outcome == NotFound()
    assert await store.runs.get(namespace=NAMESPACE, run_id=run_id) is None
    assert await store.runs.watch(run_id=run_id, coordinator_id="c") == NotFound()
    assert await store.runs.unstall(run_id=run_id) == NotFound()


async def test_a_run_of_another_namespace_is_not_found(store: Stores) -> None:
    run_id = await a_run(store, "order-4")

    assert await store.runs.get(namespace="others", run_id=run_id) is None
    assert await store.runs.get(namespace="others", workflow_id="order-4") is None
    outcome = await store.runs.deliver(namespace="others", run_id=run_id, event=b"e", dedupe_id="d")
    assert outcome == NotFound()


async def test_a_stalled_run_rests_until_it_is_woken(store: Stores) -> None:
    """Mail is kept and wakes nobody; unstall does, once."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    done = await commit(store, token, 1, stall=b"traceback")
    assert isinstance(done, Committed)
    assert done.released
    assert await commit(store, token, 1, stall=b"traceback") == done
    attention = await signal(store, run_id, b"signal")
    assert attention is not None
    assert attention.stalled
    record = await store.runs.get(namespace=NAMESPACE, run_id=run_id)
    assert record is not None
    assert (record.state, record.failure, record.mail) == (RunState.STALLED, b"traceback", 1)
    assert isinstance(await store.runs.grant(run_id=run_id, incarnation=OTHER, nonce="n2"), NotReady)

    assert isinstance(await store.runs.unstall(run_id=run_id), Attention)
    assert await store.runs.unstall(run_id=run_id) == NotStalled(run_id, RunState.RUNNING)
    granted = await store.runs.grant(run_id=run_id, incarnation=OTHER, nonce="n2")
    assert isinstance(granted, Granted)
    assert granted.events == [b"started", b"signal"]


async def test_who_waits_where_a_run_is_held_need_not_be_noted(store: Stores) -> None:
    """The holder's coordinator sees the commit itself, so nothing is written for it."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    assert await store.runs.watch(run_id=run_id, coordinator_id="coordinator") is RunState.RUNNING

    done = await commit(store, token, 1, b"end", closing=RunState.COMPLETED)
    assert isinstance(done, Committed)
    assert done.waiters == []


async def test_who_waits_is_told_by_the_commit_that_closes(store: Stores) -> None:
    """Also by a repeat of it; who comes later learns the state at once."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    assert await store.runs.watch(run_id=run_id, coordinator_id="c1") is RunState.RUNNING
    assert await store.runs.watch(run_id=run_id, coordinator_id="c2") is RunState.RUNNING
    assert await store.runs.watch(run_id=run_id, coordinator_id="c1") is RunState.RUNNING

    for _ in range(2):
        done = await commit(store, token, 1, b"end", closing=RunState.COMPLETED)
        assert isinstance(done, Committed)
        assert done.waiters == ["c1", "c2"]
    assert await store.runs.watch(run_id=run_id, coordinator_id="c3") is RunState.COMPLETED


async def test_a_commit_finds_the_runs_own_namespace(store: Stores) -> None:
    """A wrong hint of the namespace costs a round trip and closes the right run's listing."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    done = await store.runs.commit(
        token=token,
        incarnation=INCARNATION,
        number=1,
        events=[b"end"],
        effects=Effects(closing=RunState.COMPLETED),
    )
    assert isinstance(done, Committed)
    runs, _ = await store.listing.page(namespace=NAMESPACE, size=10)
    assert [(run.run_id, run.state) for run in runs] == [(run_id, RunState.COMPLETED)]


async def test_a_commit_of_many_events_is_whole(store: Stores) -> None:
    """More than Lua can unpack at once."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    events = [b"%d" % number for number in range(9000)]

    done = await commit(store, token, 1, *events)
    assert isinstance(done, Committed)
    assert done.length == 9001
    got: list[bytes] = []
    while len(got) < 9001:
        got += await store.runs.history(run_id=run_id, first=len(got), count=5000)
    assert got[1:] == events
