"""Model of stealing inside a coordinator: a task is assigned, maybe recalled, maybe its worker dies.

One remote task, two workers. The first assignment may be recalled before it has begun; a recall travels
as slowly as it likes. With `at_most_once` a worker that dies leaves the outcome unknown only if it had begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.model.checker import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallRules:
    """What closes H16; each can be left out to see the hole."""

    names_lease: bool = True
    answer_is_release: bool = True
    start_acknowledged: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """The task at its worker: under which lease, whether it said that it starts, and may, and whether it runs."""

    lease: int
    runs: bool = False
    said_start: bool = False
    may_start: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallState:
    """`lease` is the newest; it is held while `held_by` names a worker."""

    lease: int = 0
    held_by: int | None = None
    started: bool = False
    workers: tuple[Work | None, Work | None] = (None, None)
    recalls: tuple[tuple[int, int], ...] = ()  # to which worker, of which lease
    answers: tuple[tuple[int, int], ...] = ()  # a yes: from which worker, to which lease
    recalls_left: int = 1
    losses_left: int
    crashes_left: int
    expiries_left: int
    begun: int = 0
    said: bool = False  # some worker said that it starts, or began without saying so
    reruns_allowed: int = 0  # of those that died, or were taken for dead
    outcome: str = ""


Moves = Iterator[Step[RecallState]]
ALL_RULES = RecallRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallModel:
    """One configuration."""

    rules: RecallRules = ALL_RULES
    losses: int = 0
    crashes: int = 0
    expiries: int = 0
    at_most_once: bool = False

    def initial(self) -> RecallState:
        return RecallState(losses_left=self.losses, crashes_left=self.crashes, expiries_left=self.expiries)

    def is_goal(self, state: RecallState) -> bool:
        return bool(state.outcome)

    def broken(self, state: RecallState) -> str:
        if state.begun > 1 + state.reruns_allowed:
            return "the task ran twice, and nobody had died"
        if self.at_most_once and state.begun > 1:
            return "the task ran twice"
        if state.outcome == "unknown" and not state.said:
            return "the outcome is called unknown, and nobody had said that the task starts"
        return ""

    def successors(self, state: RecallState) -> Moves:
        if state.held_by is None:
            for number, work in enumerate(state.workers):
                if work is None:
                    yield Step(f"worker {number} gets the task", self._assign(state, number))
        for number, work in enumerate(state.workers):
            if work is not None:
                yield from self._work(state, number, work)
        if state.recalls_left and state.held_by is not None:
            recalled = (*state.recalls, (state.held_by, state.lease))
            after = replace(state, recalls=recalled, recalls_left=state.recalls_left - 1)
            yield Step(f"worker {state.held_by} is asked to give lease {state.lease} back", after)
        for recall in state.recalls:
            yield self._recalled(state, *recall)
        for answer in state.answers:
            yield from self._answered(state, *answer)
        yield from self._faults(state)

    def _assign(self, state: RecallState, number: int) -> RecallState:
        lease = state.lease + 1
        after = replace(state, lease=lease, held_by=number, started=False)
        return _with(after, number, Work(lease))

    def _work(self, state: RecallState, number: int, work: Work) -> Moves:
        stands = state.held_by == number and state.lease == work.lease
        if work.runs:
            after = _with(state, number, None)
            if stands:
                after = replace(after, outcome="done")
            yield Step(f"worker {number} reports", after)
        elif self.at_most_once and self.rules.start_acknowledged and not work.said_start:
            asked = _with(state, number, replace(work, said_start=True, may_start=stands))
            yield Step(
                f"worker {number} says that it starts",
                replace(asked, said=True, started=state.started or stands),
            )
        elif not work.may_start:
            yield Step(f"worker {number} is told that it may not start", _with(state, number, None))
        else:
            begun = _with(state, number, replace(work, runs=True))
            yield Step(f"worker {number} begins", replace(begun, said=True, begun=state.begun + 1))

    def _recalled(self, state: RecallState, number: int, lease: int) -> Step[RecallState]:
        """A worker says yes if it has not begun what is recalled."""
        work = state.workers[number]
        after = replace(state, recalls=tuple(item for item in state.recalls if item != (number, lease)))
        if self.rules.names_lease:
            yes = work is not None and work.lease == lease and not work.runs and not work.said_start
        else:
            yes = work is not None or state.held_by == number
        if not yes:
            return Step(f"worker {number} keeps what it has", after)
        after = replace(_with(after, number, None), answers=(*state.answers, (number, lease)))
        return Step(f"worker {number} gives the task back", after)

    def _answered(self, state: RecallState, number: int, lease: int) -> Moves:
        """A yes is a release, which is repeated until it is answered; a message of its own may be lost."""
        left = tuple(item for item in state.answers if item != (number, lease))
        after = replace(state, answers=left)
        stands = state.held_by == number and (state.lease == lease or not self.rules.names_lease)
        freed = replace(after, held_by=None) if stands else after
        yield Step("the lease goes back", freed)
        if state.losses_left and not self.rules.answer_is_release:
            yield Step("the answer is lost", replace(after, losses_left=state.losses_left - 1), fault=True)

    def _faults(self, state: RecallState) -> Moves:
        holder = state.held_by
        if holder is None:
            return
        work = state.workers[holder]
        unknown = self.at_most_once and (state.started or not self.rules.start_acknowledged)
        after = replace(state, held_by=None, outcome="unknown" if unknown else "")
        more = replace(after, reruns_allowed=state.reruns_allowed + 1)
        if state.crashes_left:
            dead = _with(more if work is not None and work.runs else after, holder, None)
            dead = replace(dead, crashes_left=state.crashes_left - 1)
            yield Step(f"worker {holder} dies and its lease expires", dead, fault=True)
        if state.expiries_left:
            gone = replace(more, expiries_left=state.expiries_left - 1)
            yield Step(f"worker {holder} is taken for dead", gone, fault=True)


def _with(state: RecallState, number: int, work: Work | None) -> RecallState:
    first, second = state.workers
    return replace(state, workers=(work, second) if number == 0 else (first, work))
