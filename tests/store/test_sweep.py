"""What sweeps, sessions, listings and streams between coordinators are made of."""

import asyncio

import pytest

from aiki_server.core.matching import Lane
from aiki_server.core.pace import NOTHING, Look
from aiki_server.core.runs import (
    Attention,
    Committed,
    DispatchedTask,
    Effects,
    Hint,
    RunState,
    Started,
    TaskAttention,
    TimerKind,
)
from aiki_server.store import Stores
from tests.support.store import INCARNATION, NAMESPACE, PARTITIONS, a_grant, a_run, a_start, call

FAR_MS = 2**50


def partition(run_id: str) -> int:
    return int(run_id.partition("-")[0])


async def close(store: Stores, run_id: str, state: RunState = RunState.COMPLETED) -> None:
    done = await store.runs.commit(
        token=await a_grant(store, run_id),
        incarnation=INCARNATION,
        number=1,
        events=[b"end"],
        effects=Effects(closing=state),
        namespace=NAMESPACE,
    )
    assert isinstance(done, Committed)


async def test_what_needs_attention_is_found_until_it_is_hinted(store: Stores) -> None:
    """Runs and tasks, with where they are served; an entry hinted again is young again."""
    run_id = await a_run(store)
    where = partition(run_id)
    token = await a_grant(store, run_id)
    task = DispatchedTask(address="a/b/1", handler="t:a", queue="gpu", spec=b"s")
    await store.runs.commit(
        token=token, incarnation=INCARNATION, number=1, events=[], effects=Effects(dispatches=[task])
    )
    await store.runs.deliver(namespace=NAMESPACE, run_id=run_id, event=b"e", dedupe_id="d")

    found = await store.sweep.ready(partition=where, before_ms=FAR_MS)
    assert {type(entry.attention) for entry in found} == {Attention, TaskAttention}
    for entry in found:
        if isinstance(entry.attention, Attention):
            assert (entry.attention.holder, entry.attention.incarnation) == (token, INCARNATION)
    store.clock.advance(1000)
    now_ms = store.clock.now_ms()
    assert len(await store.sweep.ready(partition=where, before_ms=now_ms)) == 2
    await store.sweep.hinted(partition=where, entries=found)
    assert await store.sweep.ready(partition=where, before_ms=now_ms) == []


async def test_a_look_says_what_a_partition_holds(store: Stores) -> None:
    """Nothing at first; then what needs attention, a timer, an effect for others, and who holds something."""
    run_id = await a_run(store)
    where = partition(run_id)
    empty = await store.sweep.look(partition=(where + 1) % PARTITIONS)
    before = await store.sweep.look(partition=where)
    token = await a_grant(store, run_id)
    effects = Effects(timers=[("timer/1", 5000, TimerKind.TIMER)], outbox=[b"effect"])
    await store.runs.commit(
        token=token, incarnation=INCARNATION, number=1, events=[], effects=effects, namespace=NAMESPACE
    )
    after = await store.sweep.look(partition=where)

    assert empty == NOTHING
    assert before.ready_ms is not None
    assert (before.holders, before.outbox, before.timer_ms) == ((), 0, None)
    assert after == Look(timer_ms=5000, outbox=1, holders=(INCARNATION,))


async def test_what_a_dead_incarnation_held_is_found_and_released(store: Stores) -> None:
    """Page by page, runs and tasks; then the holder can be forgotten, and not before."""
    tokens = [await a_grant(store, await a_run(store)) for _ in range(8)]
    for where in range(PARTITIONS):
        mine = {token for token in tokens if partition(token.run_id) == where}
        assert await store.sweep.holders(partition=where) == ([INCARNATION] if mine else [])
        if mine:
            assert not await store.sweep.forget_holder(partition=where, incarnation=INCARNATION)
        while held := await store.sweep.held(partition=where, incarnation=INCARNATION, count=2):
            for token in held:
                await store.runs.release(token=token, incarnation=INCARNATION)
                mine.remove(token)
        assert not mine
        assert await store.sweep.forget_holder(partition=where, incarnation=INCARNATION)
        assert await store.sweep.holders(partition=where) == []


async def test_purge_deletes_old_closed_runs_and_nothing_else(store_url: str, store: Stores) -> None:
    """All keys of the run go, its workflow id too."""
    old, open_run = await a_run(store), await a_run(store)
    await close(store, old)
    cut = store.clock.now_ms() + 1000
    store.clock.advance(2000)
    young = await a_run(store)
    await close(store, young)

    gone = [
        await store.sweep.purge(partition=where, closed_before_ms=cut)
        for where in range(PARTITIONS)
        for _ in range(2)
    ]
    assert sum(gone) == 1
    runs, _ = await store.listing.page(namespace=NAMESPACE, size=10)
    assert {run.run_id for run in runs} == {open_run, young}
    left = await call(store_url, "KEYS", f"*{old}*")
    assert left == []


async def test_a_session_renews_until_it_is_gone(store: Stores) -> None:
    """A renewal of one that was removed says so, and does not bring it back."""
    await store.sessions.add(incarnation="a", ttl_ms=15_000)
    before = await store.sessions.snapshot()
    assert await store.sessions.renew(incarnation="a", ttl_ms=15_000)
    after = await store.sessions.snapshot()
    assert after["a"] > before["a"] > store.clock.now_ms()
    await store.sessions.remove(incarnation="a")

    assert not await store.sessions.renew(incarnation="a", ttl_ms=15_000)
    assert await store.sessions.snapshot() == {}


async def test_who_serves_a_handler_is_known_for_a_while(store: Stores) -> None:
    await store.sessions.record_handlers(
        namespace="a:b", queues=["default", "x:{y}"], handlers=["w:buy:1", "t:pay"], ttl_ms=1000
    )
    assert await store.sessions.serves(namespace="a:b", queue="x:{y}", handler="t:pay")
    assert not await store.sessions.serves(namespace="a", queue="b:default", handler="t:pay")
    served = await store.sessions.served(namespace="a:b")
    assert sorted(served) == [(q, h) for q in ("default", "x:{y}") for h in ("t:pay", "w:buy:1")]

    store.clock.advance(2000)
    assert not await store.sessions.serves(namespace="a:b", queue="x:{y}", handler="t:pay")
    await store.sessions.prune_handlers(before_ms=store.clock.now_ms())
    assert await store.sessions.served(namespace="a:b") == []


async def test_coordinators_know_each_other(store: Stores) -> None:
    await store.sessions.renew_coordinator(coordinator_id="c1", ttl_ms=1000)
    await store.sessions.renew_coordinator(coordinator_id="c2", ttl_ms=1000)
    assert set(await store.sessions.coordinators()) == {"c1", "c2"}
    await store.sessions.remove_coordinator(coordinator_id="c1")
    assert set(await store.sessions.coordinators()) == {"c2"}


async def test_runs_are_listed_newest_first_in_pages(store: Stores) -> None:
    """No run twice, none left out, over all partitions, also when many start in one millisecond."""
    outcomes = await asyncio.gather(*(store.runs.start(a_start()) for _ in range(57)))
    started = {outcome.run_id for outcome in outcomes if isinstance(outcome, Started)}
    listed: list[tuple[int, str]] = []
    token = ""
    while True:
        page, token = await store.listing.page(namespace=NAMESPACE, size=10, token=token)
        listed += [(run.start_ms, run.run_id) for run in page]
        if not token:
            break
    assert listed == sorted(listed, reverse=True)
    assert [run_id for _, run_id in listed] == list(dict.fromkeys(run_id for _, run_id in listed))
    assert {run_id for _, run_id in listed} == started
    assert await store.listing.page(namespace="others", size=10) == ([], "")


async def test_a_listing_can_be_narrowed(store: Stores) -> None:
    """By state and by workflow; stalled runs are open runs."""
    running, failed, stalled = [await a_run(store) for _ in range(3)]
    await close(store, failed, RunState.FAILED)
    await store.runs.commit(
        token=await a_grant(store, stalled),
        incarnation=INCARNATION,
        number=1,
        events=[],
        effects=Effects(),
        stall=b"bug",
        namespace=NAMESPACE,
    )

    async def listed(*states: RunState, workflow: str = "") -> set[str]:
        runs, _ = await store.listing.page(namespace=NAMESPACE, size=10, states=states, workflow=workflow)
        return {run.run_id for run in runs}

    assert await listed() == {running, failed, stalled}
    assert await listed(RunState.RUNNING) == {running}
    assert await listed(RunState.FAILED, RunState.STALLED) == {failed, stalled}
    assert await listed(workflow="purchase") == {running, failed, stalled}
    assert await listed(workflow="other") == set()
    found = await store.listing.stalled(
        partition=partition(stalled), namespace=NAMESPACE, workflow="purchase", version="1"
    )
    assert found == [(stalled, b"bug")]


@pytest.mark.parametrize("token", ["x", "====", "bm8=", "MTIzNDU2Nzg5"])
async def test_a_made_up_page_token_is_refused(store: Stores, token: str) -> None:
    with pytest.raises(ValueError, match="page token"):
        await store.listing.page(namespace=NAMESPACE, size=10, token=token)


LANE = Lane(NAMESPACE, "default", "w:purchase:1")


def attention(run_id: str) -> Attention:
    return Attention(run_id, NAMESPACE, "default", "w:purchase:1", None, "", stalled=False, fresh=True)


async def test_a_hint_goes_to_one_reader_until_it_is_done(store: Stores) -> None:
    """What was read and not done is claimed by another; what is done is gone."""
    run_id = await a_run(store)
    stream = store.queues.stream(LANE)
    async with (
        store.queues.reader(coordinator_id="c1") as one,
        store.queues.reader(coordinator_id="c2") as two,
    ):
        reading = asyncio.ensure_future(one.read([stream], count=10, block_ms=20_000))
        await store.queues.hint(LANE, attention(run_id))
        await store.queues.hint(LANE, TaskAttention(run_id, "a|b/c/1", NAMESPACE, "default", "w:purchase:1"))
        hints = await reading
        while len(hints) < 2:
            hints += await one.read([stream], count=10, block_ms=20_000)
        assert [(hint.run_id, hint.address) for hint in hints] == [(run_id, ""), (run_id, "a|b/c/1")]
        assert await two.read([stream], count=10, block_ms=1) == []
        assert set(await store.queues.backlog([stream, "other"])) == {stream}

        cursor, claimed = await store.queues.claim(
            stream=stream, consumer="c2", idle_ms=0, cursor="0-0", count=10
        )
        assert (cursor, claimed) == ("0-0", hints)
        await store.queues.done(hints)
        assert await store.queues.backlog([stream]) == {}
        assert await store.queues.claim(stream=stream, consumer="c1", idle_ms=0, cursor="0-0", count=10) == (
            "0-0",
            [],
        )


async def test_nothing_is_claimed_where_nobody_has_read(store: Stores) -> None:
    """Neither of a stream that is not there, nor of one without a group; a reader finds the hint later."""
    run_id = await a_run(store)
    stream = store.queues.stream(LANE)
    for _ in range(2):
        claimed = await store.queues.claim(stream=stream, consumer="c1", idle_ms=0, cursor="0-0", count=10)
        assert claimed == ("0-0", [])
        await store.queues.hint(LANE, attention(run_id))
    async with store.queues.reader(coordinator_id="c1") as reader:
        hints = await reader.read([stream], count=10, block_ms=1000)
    assert [hint.run_id for hint in hints] == [run_id, run_id]


async def test_a_reader_outlives_its_stream(store: Stores) -> None:
    """A stream that was deleted is made again, and hints are read from it."""
    stream = store.queues.stream(LANE)
    async with store.queues.reader(coordinator_id="c1") as reader:
        assert await reader.read([stream], count=1, block_ms=1) == []
        await store.queues.drop(stream)
        await store.queues.hint(LANE, attention("0-0123456789abcdef0123"))
        hints: list[Hint] = []
        while not hints:
            hints = await reader.read([stream], count=1, block_ms=1000)
        assert hints[0].run_id == "0-0123456789abcdef0123"


async def test_a_coordinator_reads_what_is_told_to_it(store: Stores) -> None:
    """From when it began to read, in order, and nothing told to another."""
    await store.queues.publish(coordinator_id="c1", message=b"before")
    async with store.queues.reader(coordinator_id="c1") as reader:
        reading = asyncio.ensure_future(reader.read_messages(block_ms=20_000))
        await store.queues.publish(coordinator_id="c2", message=b"not mine")
        await store.queues.publish(coordinator_id="c1", message=b"one")
        await store.queues.publish(coordinator_id="c1", message=b"two")
        messages = await reading
        while len(messages) < 2:
            messages += await reader.read_messages(block_ms=20_000)
        assert messages == [b"one", b"two"]


async def test_lanes_are_found_while_they_are_used(store: Stores) -> None:
    """Each in a stream of its own; one in which nothing was hinted for long is dropped with its stream."""
    plain = Lane(NAMESPACE, "q:1", "w:purchase:1")
    asks = Lane(NAMESPACE, "q:1", "t:pay", 1, ("gpu=a100", "zone=eu"), 3)
    assert store.queues.stream(plain).endswith(":w:purchase:1:3")
    run_id = await a_run(store)

    await store.queues.hint(plain, attention(run_id))
    entry = await store.queues.hint(asks, TaskAttention(run_id, "pay/1", NAMESPACE, "q:1", "t:pay"))

    assert set(await store.queues.lanes()) == {plain, asks}
    assert {lane: length for lane, (length, _) in (await store.queues.lengths([plain, asks])).items()} == {
        plain: 1,
        asks: 1,
    }
    assert await store.queues.heads([asks], 10) == {asks: [f"t|{run_id}|pay/1"]}
    await store.queues.withdraw(asks, entry)
    assert (await store.queues.lengths([asks]))[asks] == (0, 0)
    await store.queues.forget_lanes(before_ms=store.clock.now_ms() + 1)
    assert await store.queues.lanes() == []
    assert (await store.queues.lengths([plain]))[plain] == (0, 0)


async def test_what_coordinators_report(store: Stores) -> None:
    """The newest of each; those that have said nothing are absent."""
    await store.queues.report(coordinator_id="c1", text="old", ttl_ms=10_000)
    await store.queues.report(coordinator_id="c1", text="new", ttl_ms=10_000)

    assert await store.queues.reports(["c1", "c2"]) == {"c1": "new"}
