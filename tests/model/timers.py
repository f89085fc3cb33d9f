"""Model of firing: a coordinator reads that a timer is due, and fires it some time later.

Meanwhile the timer may be moved to a later time, or be cancelled, and another coordinator may have fired it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.model.checker import Step

FIRST_DUE, LATER_DUE, END = 1, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerState:
    """`due` is what the store says, None once the timer is gone; `read` those who read that it is due."""

    now: int = 0
    due: int | None = FIRST_DUE
    moved: bool = False
    cancelled: bool = False
    read: frozenset[int] = frozenset()
    fired_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerModel:
    """Two coordinators. With `checked_when_fired` the script looks again whether it is (still) due (H12)."""

    checked_when_fired: bool = True

    def initial(self) -> TimerState:
        return TimerState()

    def is_goal(self, state: TimerState) -> bool:
        return bool(state.fired_at) or state.cancelled

    def broken(self, state: TimerState) -> str:
        if len(state.fired_at) > 1:
            return "it fired twice"
        if state.fired_at and state.moved and state.fired_at[0] < LATER_DUE:
            return "it fired before it was due"
        return "it fired and was cancelled" if state.fired_at and state.cancelled else ""

    def successors(self, state: TimerState) -> Iterator[Step[TimerState]]:
        if state.now < END:
            yield Step("time passes", replace(state, now=state.now + 1))
        if state.due is not None and not state.moved:
            yield Step("it is moved to later", replace(state, due=LATER_DUE, moved=True))
        if state.due is not None:
            yield Step("it is cancelled", replace(state, due=None, cancelled=True))
        for coordinator in (0, 1):
            if coordinator in state.read:
                after = replace(state, read=state.read - {coordinator})
                is_due = state.due is not None and state.due <= state.now
                if is_due or not self.checked_when_fired:
                    after = replace(after, due=None, fired_at=(*state.fired_at, state.now))
                yield Step(f"coordinator {coordinator} fires it", after)
            elif state.due is not None and state.due <= state.now:
                read = state.read | {coordinator}
                yield Step(f"coordinator {coordinator} reads that it is due", replace(state, read=read))
