"""Model of hints: runs that are ready, a stream of hints for workers that are not there yet, and the sweep.

Invariant: the stream holds no more hints than runs are ready. A hint may be lost; then the sweep makes
another, so that every run is granted once a worker comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.model.checker import Step

Hint = tuple[str, int]
"""Which run, and when it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HintState:
    """`ready` says when each run was last hinted; the clock counts sweeps and stops at a bound."""

    ready: tuple[Hint, ...]
    stream: tuple[Hint, ...]
    now: int
    worker_came: bool = False
    losses_left: int


Moves = Iterator[Step[HintState]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HintModel:
    """Some runs. With `only_when_gone` the sweep compares with the oldest entry of the stream (H8)."""

    only_when_gone: bool = True
    runs: str = "ab"
    losses: int = 1
    sweeps_max: int = 6

    def initial(self) -> HintState:
        hints = tuple((run, at) for at, run in enumerate(self.runs))
        return HintState(ready=hints, stream=hints, now=len(self.runs), losses_left=self.losses)

    def is_goal(self, state: HintState) -> bool:
        return not state.ready

    def broken(self, state: HintState) -> str:
        if len(state.stream) > len(state.ready) and not state.worker_came:
            return f"{len(state.stream)} hints for {len(state.ready)} runs"
        return ""

    def successors(self, state: HintState) -> Moves:
        if not state.worker_came:
            yield Step("a worker comes", replace(state, worker_came=True))
        elif state.stream:
            run, _ = state.stream[0]
            ready = tuple(item for item in state.ready if item[0] != run)
            yield Step(
                f"the hint of {run} is read, and it is granted if it is still ready",
                replace(state, ready=ready, stream=state.stream[1:]),
            )
        if state.now < self.sweeps_max or not state.stream:
            yield Step("a sweep", self._sweep(state))
        if state.losses_left:
            for at, (run, _) in enumerate(state.stream):
                rest = (*state.stream[:at], *state.stream[at + 1 :])
                lost = replace(state, stream=rest, losses_left=state.losses_left - 1)
                yield Step(f"the hint of {run} is lost", lost, fault=True)

    def _sweep(self, state: HintState) -> HintState:
        """Hints are first in, first out: one that is older than the oldest entry is gone."""
        oldest = state.stream[0][1] if state.stream else state.now
        now = min(state.now + 1, self.sweeps_max)
        ready, stream = state.ready, state.stream
        for run, hinted in state.ready:
            if hinted < oldest or not self.only_when_gone:
                ready = tuple((name, now if name == run else at) for name, at in ready)
                stream = (*stream, (run, now))
        return replace(state, ready=ready, stream=stream, now=now)
