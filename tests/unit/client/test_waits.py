"""What a waiting run waits for is told in one line."""

from datetime import UTC, datetime

from aiki_client.cli.waits import waits_for
from aiki_client.views import ChildView, RunState, RunView, TaskView, TimerView


def _at(second: int) -> datetime:
    return datetime(2026, 1, 1, 12, 0, second, tzinfo=UTC)


def _shown(second: int) -> str:
    return f"{_at(second).astimezone():%Y-%m-%d %H:%M:%S}"


def _run(
    timers: tuple[TimerView, ...] = (),
    tasks: tuple[TaskView, ...] = (),
    children: tuple[ChildView, ...] = (),
) -> RunView:
    return RunView(
        namespace="default",
        run_id="1-a",
        workflow_id="w",
        workflow="f",
        version="1",
        queue="default",
        state=RunState.WAITING,
        start_time=_at(0),
        close_time=None,
        history_length=1,
        output=None,
        failure=None,
        worker="",
        waiting_for="",
        tasks=tasks,
        timers=timers,
        children=children,
        since=_at(9),
    )


def _task(address: str, state: str) -> TaskView:
    return TaskView(
        address=address, task="t", state=state, attempt=1, worker="", since=None, last_failure=None
    )


LATER = TimerView(address="b", since=_at(0), due=_at(8))
SOONER = TimerView(address="a", since=_at(1), due=_at(5))
CHILD = ChildView(address="c", workflow="f", workflow_id="w/c", state="open", since=_at(1), failure=None)


def test_what_is_due_first_comes_first() -> None:
    """The next timer, and how much more there is."""
    told = waits_for(_run((LATER, SOONER), (_task("t/1", "queued"), _task("t/2", "completed")), (CHILD,)))

    assert told == f"timer a, since {_shown(1)}, until {_shown(5)}, and 3 more"


def test_without_timers_it_is_a_task_or_a_child() -> None:
    """What is open; what is over is nothing to wait for."""
    assert waits_for(_run(tasks=(_task("t/1", "completed"),), children=(CHILD,))) == "child w/c"
    assert waits_for(_run(tasks=(_task("t/1", "backoff"),))) == "task t/1 (backoff)"


def test_with_nothing_open_it_is_a_message() -> None:
    """Somebody has to say something."""
    assert waits_for(_run()) == f"a signal or an update, since {_shown(9)}"
