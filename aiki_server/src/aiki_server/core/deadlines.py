"""What becomes of a run whose time is up and that no worker takes: pure.

A worker that has the run tells its code, which cleans up. Where there is none, the coordinator closes the run after a
grace, as it would terminate it. What a worker has told the code of is the code's to end, however long it takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiki_server.core.runs import RunState


def deadline_ms(at_ms: int, timeout_ms: int, chain_deadline_ms: int) -> int:
    """When a run that begins at *at_ms* must be over, by its own time and its chain's; 0: never."""
    own = at_ms + timeout_ms if timeout_ms else 0
    return min(own, chain_deadline_ms) if own and chain_deadline_ms else own or chain_deadline_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A run whose time may be up.

    Attributes:
        due_ms: when it is up, as far as is known now: pauses move it. 0: its code was told.
        served: whether any worker serves it.
    """

    state: RunState
    held: bool
    due_ms: int
    served: bool


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Nothing is to be done before its time was up at `due_ms`, and the grace after it."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class LeaveIt:
    """It is over, or its end is its code's business."""


@dataclass(frozen=True, slots=True)
class TimeOut:
    """Nobody else will end it."""


def judge(run: Late, now_ms: int, grace_ms: int) -> LookAgain | LeaveIt | TimeOut:
    """What to do about a run whose deadline, and the grace after it, may have passed."""
    if run.state.is_closed or not run.due_ms:
        return LeaveIt()
    if run.due_ms + grace_ms > now_ms:
        return LookAgain(run.due_ms)
    if run.state in {RunState.PAUSED, RunState.SCHEDULED} or run.held:
        return LookAgain(now_ms)
    # A stalled run is given to no worker until somebody resumes it, whoever serves it.
    if run.state is not RunState.STALLED and run.served:
        return LookAgain(now_ms)
    return TimeOut()
