"""Model A: one run, its workers, their streams to coordinators, the store, and an adversary.

A worker has one stream at a time; the coordinator behind it is its queue of calls to the store (one
pipeline, in order) and of answers to the worker. When a stream breaks or a coordinator dies, any first
part of the calls still lands, at any later time. Not modelled: clocks, two runs, caches, pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from tests.model import adversary, holding, protocol, states
from tests.model.checker import Step
from tests.model.holding import Holding
from tests.model.protocol import (
    Accepted,
    Adopt,
    Call,
    Commit,
    Faults,
    Flow,
    Forget,
    Grant,
    Granted,
    Incarnation,
    Lost,
    Poke,
    Refused,
    Release,
    Rules,
    Store,
    Welcome,
    worker_of,
)
from tests.model.states import Line, State, Worker

Moves = Iterator[Step[State]]
ALL_RULES = Rules()
NO_FAULTS = Faults()
EXPIRED_EPOCH_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunModel:
    """One configuration."""

    flow: Flow
    rules: Rules = ALL_RULES
    faults: Faults = NO_FAULTS
    workers: int = 1

    def initial(self) -> State:
        return State(
            store=Store(),
            workers=(Worker(),) * self.workers,
            to_deliver=self.flow.mail,
            faults=self.faults,
        )

    def is_goal(self, state: State) -> bool:
        """The run is closed, and nobody works on it any more."""
        return state.store.closed and all(worker.run is None for worker in state.workers)

    def broken(self, state: State) -> str:
        history = state.store.history
        if len(set(history)) < len(history):
            return f"an input is recorded twice: {history}"
        for worker in state.workers:
            run = worker.run
            if state.lossy or run is None or run.lease != state.store.lease:
                continue
            both = [letter for letter in history if letter in run.seen]
            if both != [letter for letter in run.seen if letter in history]:
                return f"the code saw {run.seen}, the history is {history}"
        return state.wrong

    def successors(self, state: State) -> Moves:
        yield from self._deliver(state)
        for number, worker in enumerate(state.workers):
            if states.line_of(state, number) is None:
                yield self._connect(state, number)
            if worker.run is not None:
                yield from self._work(state, number, worker.run)
            yield from self._old_results(state, number)
        for at, line in enumerate(state.lines):
            if line.calls:
                yield from self._execute(state, at)
            if line.answers:
                yield self._hear(state, at)
            if line.welcomed:
                yield from self._coordinate(state, at)
        yield from adversary.sweep(state, self.rules)
        yield from adversary.faults(state, self.flow, self.rules)

    def _deliver(self, state: State) -> Moves:
        """Mail from outside; whoever holds the run is poked."""
        for letter, cause in state.to_deliver[:1]:
            if cause not in state.store.history:
                continue
            store = protocol.deliver(state.store, letter, self.rules)
            quiet = replace(state, store=store, to_deliver=state.to_deliver[1:])
            yield Step(f"{letter} is delivered", adversary.poke(quiet))
            if state.faults.lost_poke and store.holder:
                quiet = replace(quiet, faults=adversary.less(state.faults, "lost_poke"))
                yield Step(f"{letter} is delivered, its poke is lost", quiet, fault=True)

    def _connect(self, state: State, number: int) -> Step[State]:
        """A new stream; a resume lists the lease that is held, and the old incarnation goes last."""
        worker = state.workers[number]
        old, new = worker.session, states.new_incarnation(state, number)
        calls: tuple[Call, ...] = ()
        if old and not self.rules.incarnations:
            new = old
        elif old:
            calls = (Forget(old),)
            if worker.run is not None:
                calls = (Adopt(old, worker.run.lease), *calls)
        line = Line(new, calls=calls, answers=() if calls else (Welcome(),))
        store = replace(state.store, sessions=state.store.sessions | {new})
        label = f"worker {number} resumes {old} as {new}" if old else f"worker {number} connects as {new}"
        return Step(label, replace(state, store=store, lines=(*state.lines, line)))

    def _work(self, state: State, number: int, run: Holding) -> Moves:
        for task in run.running:
            if task not in self.flow.endless:
                ended = holding.finish(run, task, self.flow, self.rules)
                after = states.with_run(state, number, ended, self.flow)
                yield Step(f"worker {number}: {task} ends", after)
        at = states.line_of(state, number)
        if at is None or not state.lines[at].welcomed:
            return
        for what, sent in holding.due_commits(run, self.flow, self.rules):
            commit = sent.in_flight[-1]
            after = states.with_run(state, number, sent, self.flow)
            label = f"worker {number} sends {what}, number {commit.number} [{commit.events}]"
            yield Step(label, states.call(after, at, commit))

    def _old_results(self, state: State, number: int) -> Moves:
        """Without keys of their lease, results of old attempts count as if they were of the new grant."""
        worker = state.workers[number]
        for task in worker.old:
            after = replace(worker, old=worker.old.replace(task, ""))
            run = worker.run
            if run is not None and not run.draining and not run.over:
                new = replace(run, seen=run.seen + task, pending=run.pending + task)
                after = replace(after, run=new)
            label = f"worker {number}: {task} of an old lease ends"
            yield Step(label, states.set_worker(state, number, after))

    def _execute(self, state: State, at: int) -> Moves:
        """The first call of a line runs in the store."""
        line = state.lines[at]
        call = line.calls[0]
        store, answers = self._script(state.store, line.incarnation, call)
        heard = (*line.answers, *answers) if line.is_open else ()
        after = replace(line, calls=line.calls[1:], answers=heard)
        label = f"{line.incarnation}: {states.words(call)} runs in the store"
        yield Step(label, states.set_line(replace(state, store=store), at, after))
        if state.faults.repeat and isinstance(call, Grant | Commit):
            again = replace(state, store=store, faults=adversary.less(state.faults, "repeat"))
            yield Step(f"{label}, its answer is lost, it is sent again", again, fault=True)

    def _script(
        self, store: Store, incarnation: Incarnation, call: Call
    ) -> tuple[Store, tuple[protocol.Answer, ...]]:
        match call:
            case Grant():
                store, granted = protocol.grant(store, incarnation, call, self.flow, self.rules)
                if granted is None:
                    return store, ()
                waits = store.mail and self.rules.drain_says_rest
                return store, (granted, Poke(granted.lease)) if waits else (granted,)
            case Commit():
                store, answer = protocol.commit(store, incarnation, call, self.flow, self.rules)
                return store, (answer,)
            case Release():
                return protocol.release(store, incarnation, call.lease), ()
            case Adopt():
                adopted = protocol.adopt(store, incarnation, call)
                return (store, (Lost(call.lease),)) if adopted is None else (adopted, ())
            case Forget():
                return replace(store, sessions=store.sessions - {call.old}), (Welcome(),)
            case _:
                assert_never(call)

    def _coordinate(self, state: State, at: int) -> Moves:
        """What the coordinator does of itself for a line that is up."""
        line, store = state.lines[at], state.store
        if line.incarnation not in store.sessions:
            number = worker_of(line.incarnation)
            after = states.drop(state, number, self.rules)
            after = states.set_worker(after, number, replace(after.workers[number], session=Incarnation(0)))
            after = states.set_line(after, at, line.closed(len(line.calls)))
            yield Step(f"{line.incarnation} is told SESSION_LOST", after)
        # Time bounds how often what has expired is granted the run again; epochs do here.
        may_ask = line.incarnation in store.sessions or store.lease.epoch < EXPIRED_EPOCH_MAX
        asks = any(isinstance(call, Grant) for call in line.calls)
        if store.ready and not store.holder and may_ask and not asks:
            after = states.call(state, at, Grant(states.new_nonce(state)))
            yield Step(f"{line.incarnation}'s coordinator asks for the run", after)

    def _hear(self, state: State, at: int) -> Step[State]:
        """The worker takes the first answer of its line."""
        line = state.lines[at]
        answer, line = line.answers[0], replace(line, answers=line.answers[1:])
        number = worker_of(line.incarnation)
        worker = state.workers[number]
        label = f"worker {number} hears {states.words(answer)}"
        if isinstance(answer, Welcome):
            again = worker.run.in_flight if worker.run else ()
            line = replace(line, welcomed=True, calls=line.calls + again)
            state = states.set_worker(state, number, Worker(line.incarnation, worker.run, worker.old))
            return Step(label, states.set_line(state, at, line))
        state = states.set_line(state, at, line)
        if isinstance(answer, Granted):
            return Step(label, self._granted(state, number, answer))
        if worker.run is None or worker.run.lease != answer.lease:
            return Step(label, state)
        return Step(label, self._answered(state, at, worker.run, answer))

    def _granted(self, state: State, number: int, answer: Granted) -> State:
        run = state.workers[number].run
        if run is not None and answer.lease.epoch <= run.lease.epoch and not self.rules.last_grant_wins:
            is_current = answer.lease == state.store.lease and bool(state.store.holder)
            return replace(state, wrong="the lease in force was ignored" if is_current else state.wrong)
        taken = holding.take(answer, self.flow, self.rules)
        return states.with_run(states.drop(state, number, self.rules), number, taken, self.flow)

    def _answered(
        self, state: State, at: int, run: Holding, answer: Accepted | Refused | Poke | Lost
    ) -> State:
        number = worker_of(state.lines[at].incarnation)
        match answer:
            case Accepted():
                return self._accepted(state, number, run, answer)
            case Refused(gap=True) if self.rules.gap_releases:
                return states.call(states.drop(state, number, self.rules), at, Release(answer.lease))
            case Refused() | Lost():
                return states.drop(state, number, self.rules)
            case Poke():
                return states.with_run(state, number, replace(run, poked=not run.over), self.flow)
            case _:
                assert_never(answer)

    def _accepted(self, state: State, number: int, run: Holding, answer: Accepted) -> State:
        stood = "".join(commit.events for commit in run.in_flight if commit.number <= answer.number)
        lost = [letter for letter in stood if letter not in state.store.history]
        if lost and not state.lossy:
            state = replace(state, wrong=f"{lost[0]} was acknowledged and is not recorded")
        if answer.released:
            return states.drop(state, number, self.rules)
        return states.with_run(state, number, holding.accepted(run, answer, self.flow, self.rules), self.flow)
