"""What a session still takes, and what is to be sent to it."""

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.core.matching import Lane
from aiki_server.core.runs import CacheMark
from aiki_server.rpc import session as sessions
from aiki_server.rpc.session import Session

HELLO = worker_pb2.Hello(
    workflows=[worker_pb2.WorkflowHandler(name="flow", version="1")], tasks=["job"], queues=["a", "b"]
)


LARGE = history_pb2.RunStarted(input=common_pb2.Payload(data=b"x" * 2**20))


def credit(runs: int, tasks: int = 0) -> worker_pb2.Credit:
    """So many in all."""
    return worker_pb2.Credit(runs_total=runs, tasks_total=tasks)


def test_credit_is_a_total() -> None:
    """What comes twice or late changes nothing; what was sent is counted against it."""
    session = Session(HELLO, "c.s.1")
    session.credit.set(credit(5, 2))
    session.credit.spend(runs=3, tasks=1)
    session.credit.set(credit(5, 2))
    session.credit.set(credit(4, 1))

    assert (session.free_runs, session.free_tasks) == (2, 1)


def test_who_leaves_takes_nothing() -> None:
    """Whatever credit there was."""
    session = Session(HELLO, "c.s.1")
    session.credit.set(credit(5, 5))
    session.draining = True

    assert (session.free_runs, session.free_tasks) == (0, 0)


def test_what_is_served() -> None:
    """Handler, queue and namespace must fit."""
    profile = Session(HELLO, "c.s.1").profile

    assert profile.fits(Lane("default", "a", "w:flow:1"))
    assert profile.fits(Lane("default", "b", "t:job"))
    assert not profile.fits(Lane("default", "c", "t:job"))
    assert not profile.fits(Lane("default", "a", "w:flow:2"))
    assert not profile.fits(Lane("other", "a", "t:job"))


def test_a_large_task_leaves_a_debt() -> None:
    """Nothing more is given before it is paid; a worker that counts tasks owes nothing."""
    lane = Lane("default", "a", "t:job", slots=3)
    hello = worker_pb2.Hello(tasks=["job"], queues=["a"], counts_slots=True, queue_slots={"a": 2})
    counts, plain = Session(hello, "c.s.1"), Session(HELLO, "c.s.2")
    for session in (counts, plain):
        session.credit.set(worker_pb2.Credit(tasks_total=4, queue_tasks_total={"a": 2}))
        assert session.free_for(lane) == min(4, session.credit.of(lane))
        session.credit.spend(tasks=session.credit.cost(lane), queue="a")

    assert (counts.free_tasks, counts.free_for(lane)) == (1, -1)
    assert (plain.free_tasks, plain.free_for(lane)) == (3, 3)


async def test_what_gathers_goes_in_one_frame() -> None:
    """In order; and what gathered before the end still goes."""
    session = Session(HELLO, "c.s.1")
    for number in range(3):
        result = worker_pb2.CommitResult(number=number)
        session.send(worker_pb2.CoordinatorMessage(commit_result=result))
    session.end()

    frame = await session.next_frame()

    assert frame is not None
    assert [message.commit_result.number for message in frame.messages] == [0, 1, 2]
    assert await session.next_frame() is None


async def test_one_that_does_not_read_is_cut_off() -> None:
    """Rather than grow without bound."""
    session = Session(HELLO, "c.s.1")
    for _ in range(sessions.OUTBOX_MESSAGES_MAX + 1):
        session.send(worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain()))

    assert session.closed
    assert await session.next_frame() is None


def test_one_that_does_not_read_much_is_cut_off() -> None:
    """By bytes as well as by messages."""
    session = Session(HELLO, "c.s.1")
    page = worker_pb2.HistoryPage(events=[history_pb2.Event(run_started=LARGE)])
    for _ in range(sessions.OUTBOX_BYTES_MAX // len(LARGE.input.data)):
        session.send(worker_pb2.CoordinatorMessage(history_page=page))

    assert session.cut_off
    assert session.waiting == 0


async def test_what_was_read_does_not_count() -> None:
    """A worker may get any amount, if it reads."""
    session = Session(HELLO, "c.s.1")
    page = worker_pb2.HistoryPage(events=[history_pb2.Event(run_started=LARGE)])
    for _ in range(2 * sessions.OUTBOX_BYTES_MAX // len(LARGE.input.data)):
        session.send(worker_pb2.CoordinatorMessage(history_page=page))
        assert await session.next_frame() is not None

    assert not session.cut_off


def test_the_oldest_cached_run_is_given_up() -> None:
    """So that what is remembered of a session is bounded."""
    session = Session(HELLO, "c.s.1")
    given_up = [
        session.remember(f"1-{number}", CacheMark(1, "n", 1))
        for number in range(sessions.CACHED_RUNS_MAX + 1)
    ]

    assert given_up[-1] == "1-0"
    assert set(given_up[:-1]) == {None}
