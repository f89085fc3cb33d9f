"""Model of a store that is full: it runs only the scripts that are allowed to then.

One run that was accepted before: a remote task, a failed attempt and its delay, a lease that is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import Enum, unique

from tests.model.checker import Step


@unique
class Stage(Enum):
    """How far the run is."""

    READY = "ready"
    HELD = "held"
    QUEUED = "task in its queue"
    TAKEN = "task taken"
    BACKOFF = "task waits for its next attempt"
    DONE = "task done, run ready"
    HELD_AGAIN = "held again"
    CLOSED = "closed"
    PURGED = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class FullState:
    """`cut_off`: the holder is dead, and what it held is not released yet."""

    stage: Stage = Stage.READY
    cut_off: bool = False
    losses_left: int = 1
    failures_left: int = 1


PROGRESS = {
    Stage.READY: ("grant", Stage.HELD),
    Stage.HELD: ("commit", Stage.QUEUED),
    Stage.QUEUED: ("take_task", Stage.TAKEN),
    Stage.TAKEN: ("complete_task", Stage.DONE),
    Stage.BACKOFF: ("fire", Stage.QUEUED),
    Stage.DONE: ("grant", Stage.HELD_AGAIN),
    Stage.HELD_AGAIN: ("commit", Stage.CLOSED),
    Stage.CLOSED: ("purge", Stage.PURGED),
}
RELEASE = {
    Stage.HELD: ("release", Stage.READY),
    Stage.HELD_AGAIN: ("release", Stage.DONE),
    Stage.TAKEN: ("release_task", Stage.QUEUED),
}
NEEDED = ("grant", "commit", "take_task", "complete_task", "fire", "release", "release_task", "purge")


@dataclass(frozen=True, slots=True, kw_only=True)
class FullModel:
    """`allowed` are the names of the scripts that run in a full store."""

    allowed: Collection[str]

    def initial(self) -> FullState:
        return FullState()

    def is_goal(self, state: FullState) -> bool:
        return state.stage is Stage.PURGED

    def broken(self, state: FullState) -> str:
        return ""

    def successors(self, state: FullState) -> Iterator[Step[FullState]]:
        script, after = PROGRESS[state.stage]
        if not state.cut_off and script in self.allowed:
            yield Step(script, replace(state, stage=after))
        if state.stage is Stage.TAKEN and not state.cut_off and state.failures_left:
            failed = replace(state, stage=Stage.BACKOFF, failures_left=state.failures_left - 1)
            if "retry_task" in self.allowed:
                yield Step("retry_task", failed)
        if state.stage not in RELEASE:
            return
        if state.losses_left and not state.cut_off:
            lost = replace(state, cut_off=True, losses_left=state.losses_left - 1)
            yield Step("the holder dies", lost, fault=True)
        if state.cut_off:
            script, after = RELEASE[state.stage]
            if script in self.allowed:
                yield Step(f"{script} by the sweep", replace(state, stage=after, cut_off=False))
