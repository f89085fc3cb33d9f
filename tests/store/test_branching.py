"""Reset and fork: a run that goes on from an event of another; repeated, stale and late calls."""

import json

from aiki_server.core.ids import run_id_for
from aiki_server.core.runs import (
    Branch,
    Changed,
    Committed,
    Effects,
    Fenced,
    Granted,
    IdTaken,
    NotFound,
    RunRecord,
    RunState,
    Started,
    Terminated,
    TimerKind,
)
from aiki_server.store import Stores
from aiki_server.store.branching import ResetOutcome
from tests.store.runs import commit, history, signal, state
from tests.support.store import INCARNATION, NAMESPACE, PARTITIONS, a_grant, a_run, a_start

FAR_MS = 10**13
CHILD = json.dumps({"state": "open", "run": "0-child", "workflow_id": "child", "policy": "cancel"})


async def record(store: Stores, run_id: str) -> RunRecord:
    found = await store.runs.get(namespace=NAMESPACE, run_id=run_id)
    assert found is not None
    return found


def branch(
    *, length: int = 2, children: tuple[tuple[str, str], ...] = (), mail: tuple[bytes, ...] = (b"later",)
) -> Branch:
    return Branch(
        length=length,
        first=b"started anew",
        note=b"reset",
        timers=[("sleep/1", FAR_MS)],
        fields=[("s:step", b"two")],
        children=list(children),
        mail=list(mail),
    )


async def a_run_of_three(store: Stores) -> RunRecord:
    """Held, with three events, an open child and a timer."""
    run_id = await a_run(store)
    token = await a_grant(store, run_id)
    effects = Effects(timers=[("sleep/1", FAR_MS, TimerKind.TIMER)], children=[("child/1", CHILD)])
    outcome = await store.runs.commit(
        token=token,
        incarnation=INCARNATION,
        number=1,
        events=[b"two", b"three"],
        effects=effects,
        namespace=NAMESPACE,
    )
    assert isinstance(outcome, Committed)
    return await record(store, run_id)


def new_id_of(run: RunRecord, request_id: str = "again") -> str:
    return run_id_for(NAMESPACE, run.workflow_id, request_id, PARTITIONS)


async def reset(
    store: Stores, run: RunRecord, *, new_id: str = "", length: int = 3, mail: int = 0, **kept: Branch
) -> ResetOutcome:
    return await store.branching.reset(
        run,
        event=b"terminated",
        new_id=new_id or new_id_of(run),
        length=length,
        mail=mail,
        branch=kept.get("branch", branch()),
    )


async def test_a_reset_ends_one_run_and_begins_another(store: Stores) -> None:
    """The new run has what is kept; the old one's holder is fenced; the workflow id leads to the new one."""
    run = await a_run_of_three(store)
    outcome = await reset(store, run)
    assert isinstance(outcome, Terminated)
    assert outcome.ended is not None
    assert isinstance(await commit(store, outcome.ended.token, 2, b"late"), Fenced)
    assert await state(store, run.run_id) is RunState.CONTINUED
    assert await history(store, run.run_id) == [b"started", b"two", b"three", b"terminated"]

    new_id = new_id_of(run)
    assert await history(store, new_id) == [b"started anew", b"two", b"reset"]
    assert await store.control.published(run_id=new_id) == {"step": b"two"}
    newest = await store.runs.get(namespace=NAMESPACE, workflow_id=run.workflow_id)
    assert newest is not None
    assert newest.run_id == new_id
    due = await store.timers.due(partition=int(new_id.partition("-")[0]), until_ms=FAR_MS)
    assert ("sleep/1", new_id) in [(timer.address, timer.run_id) for timer in due]
    granted = await store.runs.grant(run_id=new_id, incarnation=INCARNATION, nonce="n2")
    assert isinstance(granted, Granted)
    assert granted.events[-1] == b"later"


async def test_a_reset_that_comes_twice_is_one(store: Stores) -> None:
    """Also when the new run has gone on since."""
    run = await a_run_of_three(store)
    await reset(store, run)
    await a_grant(store, new_id_of(run), "n2")
    before = await history(store, new_id_of(run))

    assert await reset(store, run) == Started(new_id_of(run), repeat=True)
    assert await history(store, new_id_of(run)) == before
    assert (await history(store, run.run_id))[-2:] == [b"three", b"terminated"]


async def test_a_reset_of_what_has_changed_changes_nothing(store: Stores) -> None:
    """Its caller has read a history or a mailbox that are no longer so."""
    run = await a_run_of_three(store)
    await signal(store, run.run_id, b"signal")
    assert await reset(store, run) == Changed()
    assert await reset(store, run, length=2, mail=1) == Changed()
    assert await state(store, run.run_id) is RunState.RUNNING
    assert await history(store, new_id_of(run)) == []

    assert isinstance(await reset(store, run, mail=1), Terminated)


async def test_a_reset_of_a_run_that_another_followed(store: Stores) -> None:
    """The workflow id is that one's; a second reset, of another request, finds the first one's run there."""
    run = await a_run_of_three(store)
    await reset(store, run)
    first = new_id_of(run)
    assert await reset(store, run, new_id=new_id_of(run, "other"), length=4) == IdTaken(first)
    assert await history(store, new_id_of(run, "other")) == []


async def test_a_reset_finds_whoever_holds_the_run(store: Stores) -> None:
    """The caller's record may be older than the lease."""
    run_id = await a_run(store)
    old = await record(store, run_id)
    token = await a_grant(store, run_id)
    outcome = await reset(store, old, length=1, branch=branch(length=1))
    assert isinstance(outcome, Terminated)
    assert outcome.ended is not None
    assert outcome.ended.token == token


async def test_an_open_child_goes_over(store: Stores) -> None:
    """Its end finds the new run, also when it was told to the old one."""
    run = await a_run_of_three(store)
    await reset(store, run, branch=branch(children=(("child/1", CHILD),)))
    new_id = new_id_of(run)
    (entry,) = [
        entry
        for entry in await store.control.outbox(partition=int(run.run_id.partition("-")[0]), count=10)
        if entry.kind == "moved"
    ]
    assert (entry.source, entry.address, entry.event) == (new_id, "child/1", b"0-child")

    for told, expected in ((run.run_id, True), (new_id, False)):
        settled = await store.control.settle_child(
            parent=told, address="child/1", event=b"child done", state="completed"
        )
        assert (settled is not None) is expected
    await a_grant(store, new_id, "n2")
    assert (await history(store, new_id))[-1] == b"child done"


async def test_a_fork_leaves_the_run_as_it_is(store: Stores) -> None:
    """The new one has another workflow id and what is kept of the history."""
    run = await a_run_of_three(store)
    new_id = run_id_for(NAMESPACE, "another", "fork", PARTITIONS)
    outcome = await store.branching.fork(run, new_id=new_id, workflow_id="another", branch=branch(length=1))
    assert outcome == Started(new_id, repeat=False)
    assert await history(store, run.run_id) == [b"started", b"two", b"three"]
    assert (await record(store, run.run_id)).holder == INCARNATION
    assert await history(store, new_id) == [b"started anew", b"reset"]
    assert (await record(store, new_id)).workflow_id == "another"

    await a_grant(store, new_id, "n2")
    before = await history(store, new_id)
    again = await store.branching.fork(run, new_id=new_id, workflow_id="another", branch=branch(length=1))
    assert again == Started(new_id, repeat=True)
    assert await history(store, new_id) == before


async def test_a_fork_under_a_workflow_id_that_is_taken(store: Stores) -> None:
    """Nothing of it is made."""
    run = await a_run_of_three(store)
    taken = await store.runs.start(a_start("another"))
    assert isinstance(taken, Started)
    new_id = run_id_for(NAMESPACE, "another", "fork", PARTITIONS)
    outcome = await store.branching.fork(run, new_id=new_id, workflow_id="another", branch=branch())
    assert outcome == IdTaken(taken.run_id)
    assert await history(store, new_id) == []
    assert await store.runs.get(namespace=NAMESPACE, run_id=new_id) is None


async def test_a_fork_of_a_run_that_was_deleted(store: Stores) -> None:
    """There is nothing to go on from."""
    run = await a_run_of_three(store)
    await store.flusher.submit(("DEL", f"{{aiki:{run.run_id.partition('-')[0]}}}:history:{run.run_id}"), bool)
    new_id = run_id_for(NAMESPACE, "another", "fork", PARTITIONS)
    outcome = await store.branching.fork(run, new_id=new_id, workflow_id="another", branch=branch())
    assert outcome == NotFound()
