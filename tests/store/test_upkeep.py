"""Streams of hints do not gather what is of no use any more."""

from types import SimpleNamespace
from typing import cast

from aiki_server.core.matching import Lane
from aiki_server.core.runs import Attention, TaskAttention
from aiki_server.loops.membership import Membership
from aiki_server.loops.upkeep import Upkeep
from aiki_server.rpc.hub import Hub
from aiki_server.store import Stores, keys
from aiki_server.store.replies import as_it_is
from tests.support.store import NAMESPACE, a_run


async def consumers(store: Stores, stream: str) -> list[str]:
    found = await store.flusher.submit(("XINFO", "CONSUMERS", stream, "aiki"), as_it_is)
    return [reader[1].decode() for reader in found]


async def test_dead_readers_go_once_nothing_of_theirs_is_left(store: Stores) -> None:
    """One that has read something stays until it was claimed."""
    await store.sessions.renew_coordinator(coordinator_id="alive", ttl_ms=1000)
    lane = Lane(NAMESPACE, "q", "h")
    stream = store.queues.stream(lane)
    await store.queues.hint(lane, TaskAttention(await a_run(store), "a", NAMESPACE, "q", "h"))
    for name in ("busy", "alive", "gone"):
        async with store.queues.reader(coordinator_id=name) as reader:
            await reader.read([stream], count=1, block_ms=1)
    # Older servers make a reader known only when there was something for it.
    await store.flusher.submit(("XGROUP", "CREATECONSUMER", stream, "aiki", "gone"), as_it_is)
    upkeep = _upkeep(store)
    await upkeep.tidy()
    assert "busy" in await consumers(store, stream)
    assert "gone" not in await consumers(store, stream)

    _, hints = await store.queues.claim(stream=stream, consumer="alive", idle_ms=0, cursor="0-0", count=10)
    await store.queues.done(hints)
    await upkeep.tidy()
    assert await consumers(store, stream) == ["alive"]


def _upkeep(store: Stores) -> Upkeep:
    # All that it takes of a hub are its stores.
    return Upkeep(cast("Hub", SimpleNamespace(stores=store)), cast("Membership", None))


async def test_hints_of_what_is_over_go(store: Stores) -> None:
    """A run that was ended before anybody took it does not count as work that waits; one that waits still does."""
    lane = Lane(NAMESPACE, "q", "h")
    over, waits = await a_run(store), await a_run(store)
    for run_id in (over, waits):
        attention = Attention(
            run_id, NAMESPACE, "q", "h", holder=None, incarnation="", stalled=False, fresh=True
        )
        await store.queues.hint(lane, attention)
    record = await store.runs.get(namespace=NAMESPACE, run_id=over)
    assert record is not None
    await store.control.terminate(record, b"terminated")

    assert await store.queues.forget_stale(lane, count=10) == 1

    assert (await store.queues.heads([lane], 10))[lane] == [keys.ready_run(waits)]
    assert await store.queues.forget_stale(lane, count=10) == 0
