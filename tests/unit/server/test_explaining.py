"""Why work has no home, and why a run does not go on: pure decisions."""

from typing import Any

import pytest

from aiki_server.core.explaining import Facts, OpenChild, OpenTask, Place, Reason, explain
from aiki_server.core.homes import Cause, home_of, nearest_label
from aiki_server.core.matching import Lane, Profile
from aiki_server.core.queues import PoolReport, decode, encode, queue_states
from aiki_server.core.runs import RunRecord, RunState, TaskRecord, TaskState

LANE = Lane("default", "gpu", "t:train", labels=("gpu=a100",), slots=2)


def pool(
    *handlers: str,
    queues: tuple[str, ...] = ("gpu",),
    labels: tuple[str, ...] = ("gpu=a100",),
    slots: int = 4,
    free: int = 1,
    sessions: int = 1,
) -> PoolReport:
    """Workers that fit LANE unless told otherwise."""
    profile = Profile("default", queues, frozenset(handlers or ("t:train",)), frozenset(labels), slots)
    return PoolReport(profile=profile, sessions=sessions, free_tasks=free, free_runs=free)


def record(state: RunState = RunState.WAITING, *, holder: str = "") -> RunRecord:
    """A run."""
    return RunRecord(
        namespace="default",
        run_id="0-1",
        workflow_id="id",
        workflow="flow",
        version="2",
        queue="default",
        state=state,
        start_ms=1,
        close_ms=9 if state.is_closed else 0,
        epoch=1,
        nonce="n",
        holder=holder,
        length=1,
        mail=0,
    )


def remote(state: TaskState, **fields: Any) -> TaskRecord:
    """A remote task."""
    values: dict[str, Any] = {"attempts_made": 0, "worker": "", "due_ms": 0, "started": False, **fields}
    return TaskRecord(
        address="train/1",
        handler="t:train",
        queue="gpu",
        state=state,
        epoch=1,
        nonce="n",
        holder="c.s.1" if state is TaskState.LEASED else "",
        since_ms=5,
        deadline_ms=0,
        **values,
    )


def reasons(state: RunState = RunState.WAITING, *, holder: str = "", **facts: Any) -> list[Reason]:
    """Why a run waits."""
    lane = Lane("default", "default", "w:flow:2")
    values: dict[str, Any] = {"pools": (), **facts}
    return explain(Facts(record=record(state, holder=holder), lane=lane, **values))


@pytest.mark.parametrize(
    ("pools", "cause", "words"),
    [
        ([], Cause.NO_HANDLER, "none is connected"),
        ([pool("t:trian")], Cause.NO_HANDLER, "nearest name is task trian"),
        ([pool(queues=("gpus",))], Cause.NO_QUEUE, "'gpus', none in queue 'gpu'"),
        ([pool(labels=("gpu=a10",))], Cause.NO_LABEL, "label gpu=a100; the nearest label is gpu=a10"),
        ([pool(labels=())], Cause.NO_LABEL, "their labels: none"),
        (
            [pool(slots=1)],
            Cause.NO_SLOTS,
            "takes 2 slots; the largest worker that serves it gives queue 'gpu' 1",
        ),
        ([pool(free=0), pool(free=0, sessions=2, slots=8)], Cause.NO_CREDIT, "3 workers fit, with no room"),
        ([pool(labels=("gpu=a10",)), pool()], Cause.READY, "1 worker that fits can take it now"),
    ],
)
def test_the_first_thing_that_is_missing_is_told(pools: list[PoolReport], cause: Cause, words: str) -> None:
    """Handler, queue, labels, slots, room: in this order, with what is nearest."""
    home = home_of(LANE, pools)

    assert home.cause is cause
    assert words in home.message


def test_other_versions_are_named() -> None:
    """A run of a version that nobody serves any more."""
    home = home_of(Lane("default", "gpu", "w:flow:1"), [pool("w:flow:2", "w:other:1")])

    assert (home.cause, home.message) == (
        Cause.NO_HANDLER,
        "No worker serves flow v1; there are workers for flow v2.",
    )


def test_labels_must_be_together() -> None:
    """Each is there, on different workers."""
    lane = Lane("default", "gpu", "t:train", labels=("gpu=a100", "zone=eu"))

    assert "gpu=a100 and zone=eu together" in home_of(lane, [pool(), pool(labels=("zone=eu",))]).message


@pytest.mark.parametrize(
    ("label", "near"),
    [("gpu=a10", "gpu=a100"), ("gpu=tpu", "gpu=a100"), ("gpuu=a100", "gpu=a100"), ("colour=red", "")],
)
def test_the_nearest_label(label: str, near: str) -> None:
    """One of the same key, or one that is spelt alike."""
    assert nearest_label(label, ["zone=eu", "gpu=a100"]) == near


def test_a_run_without_a_worker_says_so_and_where_it_stands() -> None:
    """What somebody has to do something about."""
    (reason,) = reasons(RunState.RUNNING, places={"": Place(3, 7)})

    assert reason.cause is Cause.NO_HANDLER
    assert "number 3 of 7" in reason.message
    assert (reason.position, reason.backlog, bool(reason.advice)) == (3, 7, True)


def test_a_held_run_names_its_worker_and_its_tasks() -> None:
    """Since when, and what runs beside it."""
    told = reasons(
        RunState.RUNNING,
        holder="c.s.1",
        worker="ada",
        held_ms=4,
        local=[OpenTask("charge/1", "charge", "running", "ada", 6)],
    )

    assert [(reason.cause, reason.address, reason.worker, reason.since_ms) for reason in told] == [
        (Cause.LEASED, "", "ada", 4),
        (Cause.LEASED, "charge/1", "ada", 6),
    ]


@pytest.mark.parametrize(
    ("task", "cause", "words"),
    [
        (remote(TaskState.READY), Cause.NO_CREDIT, "number 2 of 9"),
        (remote(TaskState.LEASED, worker="ada", started=True), Cause.LEASED, "Worker ada runs attempt 1"),
        (remote(TaskState.LEASED, worker="ada"), Cause.LEASED, "has not begun"),
        (remote(TaskState.BACKOFF, attempts_made=2, due_ms=8), Cause.BACKOFF, "Attempt 2 failed"),
        (remote(TaskState.DEFERRED), Cause.DEFERRED, "token"),
    ],
)
def test_remote_tasks(task: TaskRecord, cause: Cause, words: str) -> None:
    """Where each is."""
    (reason,) = reasons(remote=[(task, LANE)], pools=[pool(free=0)], places={"train/1": Place(2, 9)})

    assert (reason.cause, reason.address, reason.due_ms) == (cause, "train/1", task.due_ms)
    assert words in reason.message


def test_what_somebody_must_do_comes_first() -> None:
    """Before timers, children and tasks that go on by themselves."""
    told = reasons(
        timers=[("timer/1", 1, 99)],
        children=[OpenChild("child/1", "child", 2)],
        remote=[(remote(TaskState.LEASED, worker="ada"), LANE), (remote(TaskState.READY), LANE)],
    )

    assert told[0].cause is Cause.NO_HANDLER
    assert {reason.cause for reason in told[1:]} == {Cause.TIMER, Cause.CHILD, Cause.LEASED}
    assert next(reason.due_ms for reason in told if reason.cause is Cause.TIMER) == 99


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (RunState.COMPLETED, Cause.CLOSED),
        (RunState.PAUSED, Cause.PAUSED),
        (RunState.STALLED, Cause.STALLED),
        (RunState.SCHEDULED, Cause.SCHEDULED),
        (RunState.WAITING, Cause.SIGNAL),
    ],
)
def test_states(state: RunState, cause: Cause) -> None:
    """A run with nothing open."""
    assert [reason.cause for reason in reasons(state, begins_ms=5, stalled_by="KeyError: 'x'")] == [cause]


def test_a_report_is_read_as_it_was_told() -> None:
    """Every field."""
    profile = Profile("n", ("a", "b"), frozenset({"t:x"}), frozenset({"gpu=a"}), 3, (("a", 1),), (("b", 2),))
    told = PoolReport(
        profile=profile, sessions=2, free_runs=1, free_tasks=4, runs={"a": 1}, tasks={"b": 2}, slots={"b": 6}
    )

    assert decode(encode([told])) == [told]


def test_queues_add_up() -> None:
    """Lanes and coordinators of one queue are one; what only waits, or is only served, is there too."""
    mine = PoolReport(
        profile=Profile("n", ("a", "b"), frozenset({"t:x"})),
        sessions=2,
        free_tasks=3,
        runs={"a": 1},
        tasks={"a": 2},
        slots={"a": 5},
    )
    waiting = {
        Lane("n", "a", "t:x"): (4, 100),
        Lane("n", "a", "t:x", 1): (1, 50),
        Lane("n", "z", "t:x"): (1, 70),
        Lane("n", "b", "t:x"): (0, 0),
    }

    states = {state.queue: state for state in queue_states(waiting, [mine, mine])}

    a, b, z = (states[name] for name in ("a", "b", "z"))
    assert (a.backlog, a.oldest_ms, a.runs, a.tasks, a.slots, a.in_flight) == (5, 50, 2, 4, 10, 6)
    assert (a.sessions, a.free_slots) == (4, 6)
    assert (b.backlog, b.oldest_ms, b.sessions) == (0, 0, 4)
    assert (z.backlog, z.sessions) == (1, 0)
