"""Model of starting and signalling by workflow id: a client that repeats itself, runs that close or continue.

The client sends one start and one signal, each up to twice, because an answer may be lost. Runs are the
chain of one workflow id, oldest first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, unique

from tests.model.checker import Step


@unique
class Policy(Enum):
    """What a start does when the workflow id is in use."""

    REPLACE_CLOSED = "replace closed"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRules:
    """What closes H11; each can be left out to see the hole."""

    id_derived: bool = True  # a start whose run exists is a repeat, before any policy
    seen_of_workflow: bool = True  # not of the run
    seen_before_closed: bool = True
    resolves_in_script: bool = True  # not by the client before


@dataclass(frozen=True, slots=True, kw_only=True)
class StartState:
    """`chain` says of each run whether it is open; `resolved` is the run a signal was addressed to."""

    chain: tuple[bool, ...] = ()
    roots: int = 0  # runs made by a start
    starts_left: int = 2
    signals_left: int = 2
    continues_left: int = 1
    signalled: int = 0
    seen: frozenset[int] = frozenset()  # where the signal's dedupe id is known: a run, or 0 for all
    resolved: int | None = None
    wrong: str = ""


Moves = Iterator[Step[StartState]]
ALL_RULES = StartRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartModel:
    """One policy."""

    policy: Policy
    rules: StartRules = ALL_RULES

    def initial(self) -> StartState:
        return StartState()

    def is_goal(self, state: StartState) -> bool:
        return not state.starts_left and not state.signals_left

    def broken(self, state: StartState) -> str:
        if state.roots > 1:
            return "one request started two runs"
        if state.signalled > 1:
            return "one signal was delivered twice"
        return state.wrong

    def successors(self, state: StartState) -> Moves:
        if state.starts_left:
            yield self._start(replace(state, starts_left=state.starts_left - 1))
        if state.chain and state.signals_left:
            yield from self._signal(state)
        if state.chain and state.chain[-1]:
            closed = (*state.chain[:-1], False)
            yield Step("the run closes", replace(state, chain=closed))
            if state.continues_left:
                after = replace(state, chain=(*closed, True), continues_left=state.continues_left - 1)
                yield Step("the run continues as new", after)

    def _start(self, state: StartState) -> Step[StartState]:
        if state.roots and self.rules.id_derived:
            return Step("the start is repeated: its run is there", state)
        taken = bool(state.chain)
        is_open = taken and state.chain[-1]
        if is_open and self.policy is Policy.REPLACE_CLOSED:
            return Step("the start finds an open run", state)
        if taken and self.policy is Policy.REJECT:
            wrong = "the client is told that its own run is in its way"
            return Step("the start is refused", replace(state, wrong=wrong))
        after = replace(state, chain=(*state.chain, True), roots=state.roots + 1)
        return Step("the start makes a run", after)

    def _signal(self, state: StartState) -> Moves:
        current = len(state.chain) - 1
        if self.rules.resolves_in_script:
            sent = replace(state, signals_left=state.signals_left - 1)
            yield Step("the signal is sent", self._deliver(sent, current))
        elif state.resolved is None:
            yield Step("the signal is resolved to a run", replace(state, resolved=current))
        else:
            sent = replace(state, signals_left=state.signals_left - 1, resolved=None)
            yield Step("the signal is sent to that run", self._deliver(sent, state.resolved))

    def _deliver(self, state: StartState, run: int) -> StartState:
        scope = 0 if self.rules.seen_of_workflow else run
        known, is_open = scope in state.seen, state.chain[run]
        if known and (self.rules.seen_before_closed or is_open):
            return state
        if is_open:
            return replace(state, signalled=state.signalled + 1, seen=state.seen | {scope})
        if known:
            return replace(state, wrong="the client is told that a delivered signal was not taken")
        if state.chain[-1]:
            return replace(state, wrong="the signal is refused by a chain that goes on")
        return state
