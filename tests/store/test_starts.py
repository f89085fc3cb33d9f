"""Starting runs, and what they are sent."""

from dataclasses import replace

from aiki_server.core.runs import (
    Delivered,
    Existing,
    IdPolicy,
    RunClosed,
    RunState,
    Started,
)
from aiki_server.store import Stores
from tests.store.runs import commit, history, signal, state
from tests.support.store import INCARNATION, NAMESPACE, a_grant, a_run, a_start


async def test_starting_twice_is_starting_once(store: Stores) -> None:
    """The same request finds the run that it started, also when it has closed."""
    start = a_start()
    assert await store.runs.start(start) == Started(start.run_id, repeat=False)
    assert await store.runs.start(start) == Started(start.run_id, repeat=True)
    token = await a_grant(store, start.run_id)
    await commit(store, token, 1, b"done", closing=RunState.COMPLETED)

    assert await store.runs.start(replace(start, policy=IdPolicy.REPLACE_CLOSED)) == Started(
        start.run_id, repeat=True
    )
    assert await history(store, start.run_id) == [b"started", b"done"]


async def test_a_workflow_id_in_use_is_told_with_what_uses_it(store: Stores) -> None:
    """Another request for the same workflow id starts nothing; equal arguments are recognized."""
    first = a_start("order-1")
    await store.runs.start(first)
    again = a_start("order-1", "another")
    changed = a_start("order-1", "third", input_hash="other")

    assert await store.runs.start(again) == Existing(first.run_id, RunState.RUNNING, equal=True)
    assert await store.runs.start(changed) == Existing(first.run_id, RunState.RUNNING, equal=False)
    assert await store.runs.get(namespace=NAMESPACE, run_id=again.run_id) is None


async def test_only_a_closed_run_is_replaced(store: Stores) -> None:
    """REPLACE_CLOSED starts anew once the run is closed; the workflow id then names the new one."""
    first = a_start("order-2")
    await store.runs.start(first)
    second = a_start("order-2", "another", policy=IdPolicy.REPLACE_CLOSED)
    assert isinstance(await store.runs.start(second), Existing)
    await commit(store, await a_grant(store, first.run_id), 1, b"failed", closing=RunState.FAILED)

    assert await store.runs.start(second) == Started(second.run_id, repeat=False)
    found = await store.runs.get(namespace=NAMESPACE, workflow_id="order-2")
    assert found is not None
    assert found.run_id == second.run_id
    old = await store.runs.get(namespace=NAMESPACE, run_id=first.run_id)
    assert old is not None
    assert (old.state, old.closing_event) == (RunState.FAILED, b"failed")


async def test_a_message_is_delivered_once(store: Stores) -> None:
    """The dedupe id belongs to the workflow id, and a repeat is one even when the run has closed."""
    run_id = await a_run(store, "order-3")
    token = await a_grant(store, run_id)
    arguments = {"namespace": NAMESPACE, "event": b"signal", "dedupe_id": "d"}
    first = await store.runs.deliver(workflow_id="order-3", **arguments)  # type: ignore[arg-type]  # shared arguments
    assert isinstance(first, Delivered)
    assert first.attention is not None
    assert (first.attention.holder, first.attention.incarnation) == (token, INCARNATION)
    await commit(store, token, 1, b"end", closing=RunState.COMPLETED)

    repeat = await store.runs.deliver(run_id=run_id, **arguments)  # type: ignore[arg-type]  # shared arguments
    assert repeat == Delivered(run_id, repeat=True, attention=None)
    late = await store.runs.deliver(namespace=NAMESPACE, run_id=run_id, event=b"late", dedupe_id="e")
    assert late == RunClosed(run_id, RunState.COMPLETED)


async def test_dedupe_ids_are_forgotten_after_a_day(store: Stores) -> None:
    """And no earlier."""
    run_id = await a_run(store)
    await signal(store, run_id, b"a", "d1")
    store.clock.advance(24 * 3600 * 1000 - 5000)
    await signal(store, run_id, b"b", "d2")
    assert await signal(store, run_id, b"a", "d1") is None
    store.clock.advance(10_000)
    await signal(store, run_id, b"c", "d3")
    assert await signal(store, run_id, b"a", "d1") is not None


async def test_a_message_wakes_a_waiting_run_once(store: Stores) -> None:
    """The first one says that the run is to be granted; the next finds that it was said."""
    run_id = await a_run(store)
    await commit(store, await a_grant(store, run_id), 1, b"a", drain=True, idle=True)

    first, second = await signal(store, run_id, b"one"), await signal(store, run_id, b"two")
    assert first is not None
    assert second is not None
    assert (first.fresh, first.holder, second.fresh) == (True, None, False)
    assert await state(store, run_id) is RunState.RUNNING
