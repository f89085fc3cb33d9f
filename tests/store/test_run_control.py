"""What is done to a run from outside: held, ended, its timers moved, its children settled; repeated and stale calls."""

import json
from dataclasses import replace

from aiki_server.core.runs import (
    Attention,
    Committed,
    DueTimer,
    Effects,
    Fenced,
    Granted,
    LeaseToken,
    NotFound,
    NotReady,
    Paused,
    RunRecord,
    RunState,
    Terminated,
    TimerKind,
    WrongState,
)
from aiki_server.store import Stores
from tests.store.runs import OTHER, commit, history, signal, state
from tests.support.store import INCARNATION, NAMESPACE, a_grant, a_run

FAR_MS = 10**13


async def record(store: Stores, run_id: str) -> RunRecord:
    found = await store.runs.get(namespace=NAMESPACE, run_id=run_id)
    assert found is not None
    return found


async def with_effects(store: Stores, token: LeaseToken, effects: Effects) -> None:
    """Commit these, give the run back, and let it wait."""
    outcome = await store.runs.commit(
        token=token,
        incarnation=INCARNATION,
        number=1,
        events=[b"commands"],
        effects=effects,
        drain=True,
        idle=True,
        namespace=NAMESPACE,
    )
    assert isinstance(outcome, Committed)


async def paused(store: Stores, run_id: str) -> Paused:
    outcome = await store.control.pause(run_id=run_id, event=b"paused", freeze=False)
    assert isinstance(outcome, Paused)
    return outcome


async def test_a_held_run_is_not_granted(store: Stores) -> None:
    """Mail gathers; whoever lets it go on finds the mail there."""
    run_id = await a_run(store)
    await paused(store, run_id)
    assert await state(store, run_id) is RunState.PAUSED
    await signal(store, run_id, b"signal")
    assert await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce="n") == NotReady()
    assert await store.control.pause(run_id=run_id, event=b"again", freeze=True) == WrongState(
        RunState.PAUSED
    )

    how, since_ms = await store.control.paused_since(run_id=run_id)
    assert how == "run"
    resumed = await store.control.unpause(run_id=run_id, since_ms=since_ms, event=b"resumed")
    assert isinstance(resumed, Attention)
    await a_grant(store, run_id)
    assert (await history(store, run_id))[-3:] == [b"paused", b"signal", b"resumed"]


async def test_a_run_that_a_worker_has_is_held_when_it_comes_back(store: Stores) -> None:
    """The worker is poked, and its commits stand until then."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    assert (await paused(store, run_id)).attention.holder == token
    assert isinstance(await commit(store, token, 1, b"done"), Committed)

    await store.runs.release(token=token, incarnation=INCARNATION)
    assert await state(store, run_id) is RunState.PAUSED
    assert await store.runs.grant(run_id=run_id, incarnation=OTHER, nonce="n") == NotReady()


async def test_an_old_resume_does_not_end_a_later_pause(store: Stores) -> None:
    """It says which pause it means."""
    run_id = await a_run(store)
    assert isinstance(await store.control.unpause(run_id=run_id, since_ms=1, event=b"resumed"), WrongState)
    await paused(store, run_id)
    _, since_ms = await store.control.paused_since(run_id=run_id)
    assert isinstance(
        await store.control.unpause(run_id=run_id, since_ms=since_ms - 1, event=b"resumed"), WrongState
    )
    assert await state(store, run_id) is RunState.PAUSED


async def test_a_terminated_run_is_over(store: Stores) -> None:
    """Its holder is fenced, its timer and its mail are gone, a repeat says what it is."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await commit(store, token, 1, b"work")
    before = await record(store, run_id)

    outcome = await store.control.terminate(before, b"terminated")
    assert isinstance(outcome, Terminated)
    assert outcome.ended is not None
    assert outcome.ended.token == token
    assert await history(store, run_id) == [b"started", b"work", b"terminated"]
    assert isinstance(await commit(store, token, 2, b"late"), Fenced)
    assert await store.control.terminate(before, b"again") == WrongState(RunState.TERMINATED)
    assert await history(store, run_id) == [b"started", b"work", b"terminated"]


async def test_a_run_that_changed_hands_is_terminated(store: Stores) -> None:
    """The caller's record of it may be old: the holder is looked up."""
    run_id = await a_run(store)
    old = await record(store, run_id)
    token = await a_grant(store, run_id)

    outcome = await store.control.terminate(old, b"terminated")
    assert isinstance(outcome, Terminated)
    assert outcome.ended is not None
    assert outcome.ended.incarnation == INCARNATION
    assert isinstance(await commit(store, token, 1, b"late"), Fenced)


async def test_a_timer_is_moved_until_it_fires(store: Stores) -> None:
    """The event tells the run; a timer that is not there is not made."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await with_effects(store, token, Effects(timers=[("sleep/1", FAR_MS, TimerKind.TIMER)]))
    assert await state(store, run_id) is RunState.WAITING

    async def move(address: str) -> Attention | NotFound:
        return await store.control.move_timer(
            run_id=run_id, kind=TimerKind.TIMER, address=address, due_ms=1, event=b"moved"
        )

    assert await move("sleep/2") == NotFound()
    moved = await move("sleep/1")
    assert isinstance(moved, Attention)
    assert moved.fresh
    due = await store.timers.due(partition=int(run_id.partition("-")[0]), until_ms=1)
    assert [timer.address for timer in due] == ["sleep/1"]


async def a_parent(store: Stores) -> str:
    """A waiting run with an open child at `child/1`."""
    run_id = await a_run(store)
    child = json.dumps({"state": "open", "run": "0-child", "workflow_id": "child", "policy": "cancel"})
    await with_effects(store, await a_grant(store, run_id), Effects(children=[("child/1", child)]))
    return run_id


async def settle(store: Stores, parent: str, event: bytes = b"child done") -> Attention | None:
    return await store.control.settle_child(parent=parent, address="child/1", event=event, state="completed")


async def test_a_parent_is_told_once(store: Stores) -> None:
    """Whoever tells it again, or of a child that it has not, changes nothing."""
    parent = await a_parent(store)
    assert isinstance(await settle(store, parent), Attention)
    assert await settle(store, parent, b"again") is None
    unknown = await store.control.settle_child(parent=parent, address="child/2", event=b"?", state="failed")
    assert unknown is None

    await a_grant(store, parent, "n2")
    assert (await history(store, parent))[-1] == b"child done"
    assert [child.state for child in await store.control.children(run_id=parent)] == ["completed"]


async def test_a_closed_parent_is_not_told(store: Stores) -> None:
    """Its history has ended, and a run that never was has none."""
    parent = await a_parent(store)
    await store.control.terminate(await record(store, parent), b"terminated")
    before = await history(store, parent)

    assert await settle(store, parent) is None
    assert await history(store, parent) == before
    assert await settle(store, parent + "x") is None


async def test_a_grant_after_a_pause_that_ended(store: Stores) -> None:
    """Nothing of the pause is left."""
    run_id = await a_run(store)
    await paused(store, run_id)
    _, since_ms = await store.control.paused_since(run_id=run_id)
    await store.control.unpause(run_id=run_id, since_ms=since_ms, event=b"resumed")

    assert await store.control.paused_since(run_id=run_id) == ("", 0)
    granted = await store.runs.grant(run_id=run_id, incarnation=OTHER, nonce="n")
    assert isinstance(granted, Granted)


async def test_timers_of_a_held_run_stand_still_if_asked_to(store: Stores) -> None:
    """They are dropped, not fired: the run starts them again when it goes on."""
    for freeze, fires in ((True, False), (False, True)):
        run_id = await a_run(store)
        token = await a_grant(store, run_id)
        await with_effects(store, token, Effects(timers=[("sleep/1", 1, TimerKind.TIMER)]))
        await store.control.pause(run_id=run_id, event=b"paused", freeze=freeze)
        fired = await store.timers.fire(
            DueTimer(run_id=run_id, kind=TimerKind.TIMER, address="sleep/1", due_ms=1), event=b"fired"
        )
        assert (fired is not None) is fires
        assert await state(store, run_id) is RunState.PAUSED
        assert await store.timers.due(partition=int(run_id.partition("-")[0]), until_ms=FAR_MS) == []


async def test_a_pause_ends_once(store: Stores) -> None:
    """A resume that comes twice tells the run once."""
    run_id = await a_run(store)
    await paused(store, run_id)
    _, since_ms = await store.control.paused_since(run_id=run_id)
    outcomes = [
        await store.control.unpause(run_id=run_id, since_ms=since_ms, event=b"resumed") for _ in range(2)
    ]
    assert isinstance(outcomes[0], Attention)
    assert outcomes[1] == WrongState(RunState.RUNNING)
    await a_grant(store, run_id)
    assert (await history(store, run_id)).count(b"resumed") == 1


async def test_what_is_closed_or_was_never_there_is_not_held(store: Stores) -> None:
    """Nor ended again, nor are its timers moved."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await with_effects(store, token, Effects(timers=[("sleep/1", FAR_MS, TimerKind.TIMER)]))
    closed = await record(store, run_id)
    await store.control.terminate(closed, b"terminated")
    over = WrongState(RunState.TERMINATED)
    assert await store.control.pause(run_id=run_id, event=b"paused", freeze=True) == over
    assert await store.control.unpause(run_id=run_id, since_ms=1, event=b"resumed") == over
    assert (await history(store, run_id))[-1] == b"terminated"

    nowhere = f"{run_id[:-1]}x"
    assert await store.control.pause(run_id=nowhere, event=b"paused", freeze=True) == NotFound()
    assert await store.control.unpause(run_id=nowhere, since_ms=1, event=b"resumed") == NotFound()
    assert await store.control.terminate(replace(closed, run_id=nowhere), b"terminated") == NotFound()


async def test_moving_a_timer_twice_tells_the_last_time(store: Stores) -> None:
    """Each move is told to the run; what fires, fires once, and is then not moved any more."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    await with_effects(store, token, Effects(timers=[("sleep/1", FAR_MS, TimerKind.TIMER)]))

    async def move(due_ms: int) -> Attention | NotFound:
        return await store.control.move_timer(
            run_id=run_id, kind=TimerKind.TIMER, address="sleep/1", due_ms=due_ms, event=b"moved"
        )

    for due_ms in (FAR_MS - 1, FAR_MS - 1, 5):
        assert isinstance(await move(due_ms), Attention)
    timer = DueTimer(run_id=run_id, kind=TimerKind.TIMER, address="sleep/1", due_ms=5)
    assert await store.timers.fire(timer, event=b"fired") is not None
    assert await store.timers.fire(timer, event=b"fired") is None
    assert await move(1) == NotFound()
    await a_grant(store, run_id, "n2")
    assert (await history(store, run_id))[-4:] == [b"moved", b"moved", b"moved", b"fired"]
