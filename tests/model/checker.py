"""Explicit-state checking: every state a model can reach, breadth first, up to a limit.

A model says where it begins, what may happen next, what must never be, and where it should end. The
checker looks for a state that breaks an invariant, and for one from which the goal cannot be reached
without another fault (a wedge). Invariant: the trace that is returned is a shortest one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """One thing that may happen, in words; `fault` when the adversary does it."""

    label: str
    state: S
    fault: bool = False


class Model(Protocol[S]):
    """What is checked. States are hashable values; nothing here has an effect."""

    def initial(self) -> S:
        """Where it begins."""
        ...

    def successors(self, state: S) -> Iterable[Step[S]]:
        """All that may happen next."""
        ...

    def broken(self, state: S) -> str:
        """Which invariant *state* breaks, in words; empty if none."""
        ...

    def is_goal(self, state: S) -> bool:
        """Whether what was wanted has come about."""
        ...


@dataclass(frozen=True, slots=True)
class Clean:
    """No violation in `states` states; `exhaustive` when those are all there are."""

    states: int
    exhaustive: bool

    def __str__(self) -> str:
        return f"clean: {self.states:,} states, {'all there are' if self.exhaustive else 'not exhaustive'}"


@dataclass(frozen=True, slots=True)
class Violation:
    """What went wrong, and the steps that lead there."""

    what: str
    trace: tuple[str, ...]
    states: int

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:2}. {label}" for number, label in enumerate(self.trace, 1))
        return f"{self.what}, after {self.states:,} states:\n{steps}"


Verdict = Clean | Violation


@dataclass(slots=True)
class _Graph(Generic[S]):
    """What was found so far: states by number, how each was reached first, and who leads where."""

    numbers: dict[S, int] = field(default_factory=dict)
    states: list[S] = field(default_factory=list)
    origins: list[tuple[int, str]] = field(default_factory=list)
    sources: list[list[int]] = field(default_factory=list)  # without a fault
    good: list[int] = field(default_factory=list)

    def add(self, state: S, origin: int, label: str) -> int:
        """The number of *state*, a new one if it was not known."""
        number = self.numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self.origins.append((origin, label))
            self.sources.append([])
        return number

    def trace(self, number: int) -> tuple[str, ...]:
        labels: list[str] = []
        while number:
            number, label = self.origins[number]
            labels.append(label)
        return tuple(reversed(labels))

    def wedged(self) -> int | None:
        """The first state that cannot reach a good one without a fault."""
        reaching = bytearray(len(self.states))
        stack = list(self.good)
        while stack:
            number = stack.pop()
            if not reaching[number]:
                reaching[number] = 1
                stack += self.sources[number]
        first = reaching.find(0)
        return None if first < 0 else first


def check(model: Model[S], *, states_max: int = 1_000_000, wedges: bool = True) -> Verdict:
    """Explore *model* until a violation, the end, or *states_max* states were expanded.

    States that were found and not expanded count as good, so a verdict that is not exhaustive says
    nothing of what lies behind them.
    """
    graph: _Graph[S] = _Graph()
    graph.add(model.initial(), 0, "")
    expanded = 0
    for number, state in enumerate(graph.states):  # which grows meanwhile
        what = model.broken(state)
        if what:
            return Violation(what, graph.trace(number), len(graph.states))
        if expanded == states_max or model.is_goal(state):
            graph.good.append(number)
            continue
        expanded += 1
        for step in model.successors(state):
            target = graph.add(step.state, number, step.label)
            if not step.fault:
                graph.sources[target].append(number)
    if wedges and (wedged := graph.wedged()) is not None:
        return Violation("it can never end without a fault", graph.trace(wedged), len(graph.states))
    return Clean(len(graph.states), expanded < states_max)


def assert_clean(model: Model[S], *, states_max: int = 1_000_000, wedges: bool = True) -> Clean:
    """There is no violation; if there is, its trace is the message."""
    verdict = check(model, states_max=states_max, wedges=wedges)
    print(verdict)
    assert isinstance(verdict, Clean), str(verdict)
    return verdict


def assert_broken(
    model: Model[S], what: str, *, states_max: int = 1_000_000, wedges: bool = True
) -> Violation:
    """There is a violation, and *what* is in its words."""
    verdict = check(model, states_max=states_max, wedges=wedges)
    print(verdict)
    assert isinstance(verdict, Violation), f"no violation was found: {verdict}"
    assert what in verdict.what, str(verdict)
    return verdict
