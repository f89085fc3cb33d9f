"""Model B: a parent run, its child on another partition, the outbox between them, and two relayers.

The parent starts the child and signals it; the child waits for the signal. Somebody else has the child's
workflow id at first, and may let go of it at any time. A relayer reads an entry, applies it at the target,
then tells the parent and removes the entry, in three steps between which it may crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, unique

from tests.model.checker import Step


@unique
class Effect(Enum):
    """What an entry of the parent's outbox asks for."""

    START = "start"
    SIGNAL = "signal"


@unique
class Result(Enum):
    """What came of an entry at its target."""

    DONE = "done"
    REFUSED = "refused"
    NOT_FOUND = "not found"


@unique
class Child(Enum):
    """What the parent knows of its child: `FAILED` when its start was refused."""

    STARTING = "starting"
    OPEN = "open"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRules:
    """What closes H6 and H7 d; each can be left out to see the hole."""

    in_order: bool = True
    refusal_recorded: bool = True
    child_id_derived: bool = True
    follows_chain: bool = True
    reconcile: bool = True
    refusal_ends_open: bool = True
    """A child that was rolled back and whose start is then refused has failed, though it was open."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One effect; its number is what the target knows it by."""

    number: int
    effect: Effect


@dataclass(frozen=True, slots=True)
class Relayer:
    """A coordinator with an entry in hand, applied once there is a `result`."""

    entry: Entry | None = None
    result: Result | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The child's partition."""

    taken: bool = True
    refused: bool = False
    runs: bool = False
    closed: bool = False
    signalled: bool = False
    seen: frozenset[int] = frozenset()
    result_to_send: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """Everything. `replica` is what a failover of the child's partition would leave."""

    child: Child = Child.STARTING
    signalled: bool = False
    continued: bool = False
    outbox: tuple[Entry, ...] = (Entry(0, Effect.START),)
    entries: int = 1
    relayers: tuple[Relayer, Relayer] = (Relayer(), Relayer())
    target: Target = Target()
    crashes: int
    failovers: int
    replica: Target | None = None
    rolled_back: bool = False
    lossy: bool = False
    wrong: str = ""


Moves = Iterator[Step[OutboxState]]
ALL_RULES = OutboxRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxModel:
    """One configuration."""

    rules: OutboxRules = ALL_RULES
    crashes: int = 0
    failovers: int = 0
    continues: bool = False

    def initial(self) -> OutboxState:
        return OutboxState(crashes=self.crashes, failovers=self.failovers)

    def is_goal(self, state: OutboxState) -> bool:
        """The parent knows how it ended, and nothing is under way."""
        idle = not state.outbox and all(relayer.entry is None for relayer in state.relayers)
        return idle and state.child in {Child.ENDED, Child.FAILED} and state.signalled

    def broken(self, state: OutboxState) -> str:
        if state.lossy:
            return ""
        if state.child is Child.FAILED and (state.target.runs or state.target.closed):
            return "the parent was told that its child failed to start, and the child runs"
        return state.wrong

    def successors(self, state: OutboxState) -> Moves:
        yield from self._parent(state)
        yield from self._target(state)
        for at, relayer in enumerate(state.relayers):
            if relayer.entry is None:
                yield from self._read(state, at)
            elif relayer.result is None:
                target, result = self._apply(state.target, relayer.entry)
                after = _with(replace(state, target=target), at, Relayer(relayer.entry, result))
                yield Step(f"r{at} applies {relayer.entry.effect.value}: {result.value}", after)
            else:
                yield Step(
                    f"r{at} tells the parent that {relayer.entry.effect.value} is {relayer.result.value}",
                    self._settle(_with(state, at, Relayer()), relayer.entry, relayer.result),
                )
            if relayer.entry is not None and state.crashes:
                crashed = replace(_with(state, at, Relayer()), crashes=state.crashes - 1)
                yield Step(f"r{at} crashes", crashed, fault=True)
        yield from self._failover(state)

    def _parent(self, state: OutboxState) -> Moves:
        if not state.signalled:
            entry = Entry(state.entries, Effect.SIGNAL)
            is_wanted = state.child in {Child.STARTING, Child.OPEN}
            outbox = (*state.outbox, entry) if is_wanted else state.outbox
            after = replace(state, signalled=True, outbox=outbox, entries=state.entries + is_wanted)
            yield Step("the parent signals its child", after)
        if self.continues and not state.continued:
            yield Step("the parent continues as new", replace(state, continued=True))

    def _target(self, state: OutboxState) -> Moves:
        target = state.target
        if target.taken:
            after = replace(state, target=replace(target, taken=False))
            yield Step("who had the workflow id lets go of it", after)
        if target.runs and target.signalled:
            ended = replace(target, runs=False, closed=True, result_to_send=True)
            yield Step("the child ends", replace(state, target=ended))
        if target.result_to_send:
            after = replace(state, target=replace(target, result_to_send=False))
            arrives = self.rules.follows_chain or not state.continued
            if arrives and state.child in {Child.STARTING, Child.OPEN}:
                after = replace(after, child=Child.ENDED)
            words = "is relayed" if arrives else "goes to the parent's old run, which is closed"
            yield Step(f"the child's result {words}", after)

    def _read(self, state: OutboxState, at: int) -> Moves:
        readable = state.outbox[:1] if self.rules.in_order else state.outbox
        for entry in readable:
            yield Step(f"r{at} reads {entry.effect.value}", _with(state, at, Relayer(entry)))

    def _apply(self, target: Target, entry: Entry) -> tuple[Target, Result]:
        exists = target.runs or target.closed
        if entry.effect is Effect.SIGNAL:
            if not exists:
                return target, Result.NOT_FOUND
            seen = target.seen | {entry.number}
            return replace(target, signalled=True, seen=seen), Result.DONE
        if exists:
            return target, Result.DONE if self.rules.child_id_derived else Result.REFUSED
        if target.taken or target.refused:
            return replace(target, refused=self.rules.refusal_recorded), Result.REFUSED
        return replace(target, runs=True), Result.DONE

    def _settle(self, state: OutboxState, entry: Entry, result: Result) -> OutboxState:
        """The parent is told and the entry removed, in one script; a repeat changes nothing."""
        outbox = tuple(item for item in state.outbox if item != entry)
        child = state.child
        if entry.effect is Effect.START and child is Child.STARTING and result is Result.DONE:
            child = Child.OPEN
        may_fail = {Child.STARTING, Child.OPEN} if self.rules.refusal_ends_open else {Child.STARTING}
        if entry.effect is Effect.START and child in may_fail and result is Result.REFUSED:
            child = Child.FAILED
        if entry.effect is Effect.SIGNAL and child in {Child.STARTING, Child.OPEN}:
            dropped = result is Result.NOT_FOUND and entry in state.outbox
            state = replace(state, wrong="the signal was dropped" if dropped else state.wrong)
        return replace(state, outbox=outbox, child=child)

    def _failover(self, state: OutboxState) -> Moves:
        if state.failovers and state.replica is None:
            lags = replace(state, replica=state.target, failovers=state.failovers - 1)
            yield Step("the replica of the child's partition falls behind", lags, fault=True)
        if state.replica is not None:
            after = replace(state, target=state.replica, replica=None, rolled_back=True, lossy=True)
            yield Step("the child's partition fails over", after, fault=True)
        if state.rolled_back and self.rules.reconcile:
            entries: tuple[Entry, ...] = ()
            if state.child in {Child.STARTING, Child.OPEN}:
                effects = [Effect.START, *[Effect.SIGNAL] * state.signalled]
                entries = tuple(Entry(state.entries + at, effect) for at, effect in enumerate(effects))
            outbox = (*state.outbox, *entries)
            after = replace(state, outbox=outbox, entries=state.entries + len(entries), rolled_back=False)
            yield Step("the effects of the open child are sent again", after)


def _with(state: OutboxState, at: int, relayer: Relayer) -> OutboxState:
    first, second = state.relayers
    return replace(state, relayers=(relayer, second) if at == 0 else (first, relayer))
