"""What becomes of a run whose time is up and that no worker takes."""

import pytest

from aiki_server.core.deadlines import Late, LeaveIt, LookAgain, TimeOut, deadline_ms, judge
from aiki_server.core.runs import RunState

NOW, GRACE = 100_000, 10_000


def _late(
    state: RunState = RunState.RUNNING, *, held: bool = False, due_ms: int = NOW - GRACE, served: bool = False
) -> Late:
    return Late(state=state, held=held, due_ms=due_ms, served=served)


@pytest.mark.parametrize(
    ("timeout_ms", "chain_ms", "due_ms"),
    [(0, 0, 0), (50, 0, 1050), (0, 1020, 1020), (50, 1020, 1020), (50, 2000, 1050)],
)
def test_the_earlier_of_two(timeout_ms: int, chain_ms: int, due_ms: int) -> None:
    """The run's own time, and its chain's."""
    assert deadline_ms(1000, timeout_ms, chain_ms) == due_ms


@pytest.mark.parametrize(
    "run",
    [_late(), _late(RunState.WAITING), _late(RunState.STALLED), _late(RunState.STALLED, served=True)],
)
def test_what_is_closed(run: Late) -> None:
    """Nobody else would."""
    assert judge(run, NOW, GRACE) == TimeOut()


@pytest.mark.parametrize(
    "run",
    [
        _late(held=True),
        _late(served=True),
        _late(RunState.PAUSED),
        _late(RunState.SCHEDULED),
        _late(RunState.STALLED, held=True),
    ],
)
def test_what_somebody_has(run: Late) -> None:
    """A worker, or an operator: the grace begins anew, since a worker may die."""
    assert judge(run, NOW, GRACE) == LookAgain(NOW)


def test_what_is_not_yet_late() -> None:
    """A pause has moved its time, or the grace is not over."""
    assert judge(_late(due_ms=NOW + 5), NOW, GRACE) == LookAgain(NOW + 5)
    assert judge(_late(due_ms=NOW - GRACE + 1), NOW, GRACE) == LookAgain(NOW - GRACE + 1)


@pytest.mark.parametrize("state", list(RunState))
def test_what_is_let_be(state: RunState) -> None:
    """Its code was told, and ends it; or it is over."""
    assert judge(_late(state, due_ms=0), NOW, GRACE) == LeaveIt()
    if state.is_closed:
        assert judge(_late(state), NOW, GRACE) == LeaveIt()
