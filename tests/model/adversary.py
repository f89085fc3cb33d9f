"""What heals in model A, and what harms: sweeps, expiry, crashes, broken streams, failovers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.model import protocol, states
from tests.model.checker import Step
from tests.model.protocol import Faults, Flow, Incarnation, Poke, Rules, Store, worker_of
from tests.model.states import State, Worker

Moves = Iterator[Step[State]]


def less(faults: Faults, kind: str) -> Faults:
    """One fewer of that kind."""
    return replace(faults, **{kind: getattr(faults, kind) - 1})


def poke(state: State) -> State:
    """Tell the holder that mail waits, if there is a way to it and it was not told."""
    holder, lease = state.store.holder, state.store.lease
    at = states.line_of(state, worker_of(holder)) if holder else None
    if at is None:
        return state
    line = state.lines[at]
    run = state.workers[worker_of(holder)].run
    told = Poke(lease) in line.answers or (run is not None and run.lease == lease and run.poked)
    if told or line.incarnation != holder:
        return state
    return states.set_line(state, at, replace(line, answers=(*line.answers, Poke(lease))))


def sweep(state: State, rules: Rules) -> Moves:
    """Not the adversary: what any coordinator does every few seconds."""
    store = state.store
    if rules.sweep_holders:
        for dead in sorted(store.held - store.sessions):
            released = protocol.release(store, dead, store.lease)
            yield Step(f"the sweep releases what {dead} held", replace(state, store=released))
    alive = {line.incarnation for line in state.lines if line.is_open}
    for gone in sorted(store.sessions - alive):
        yield Step(f"{gone} expires", replace(state, store=_expire(store, gone, rules)))
    for at, line in enumerate(state.lines):
        if line.outdated:
            ended = states.set_line(state, at, line.closed(len(line.calls)))
            yield Step(f"the failover is noticed: {line.incarnation} is to be replaced", ended)
    if store.ready and store.holder:
        poked = poke(state)
        if poked is not state:
            yield Step("the sweep pokes the holder", poked)


def faults(state: State, flow: Flow, rules: Rules) -> Moves:
    """All that the adversary may do now."""
    left = state.faults
    if left.worker_crash:
        for number, worker in enumerate(state.workers):
            if worker != Worker():
                crashed = states.set_worker(state, number, Worker())
                crashed = replace(crashed, faults=less(left, "worker_crash"))
                yield from _cut(crashed, number, f"worker {number} crashes")
    if left.stream_break:
        for number in range(len(state.workers)):
            broken = replace(state, faults=less(left, "stream_break"))
            if states.line_of(state, number) is not None:
                yield from _cut(broken, number, f"the stream of worker {number} breaks")
    if left.wrong_expiry:
        for line in state.lines:
            if line.is_open and line.incarnation in state.store.sessions:
                store = _expire(state.store, line.incarnation, rules)
                after = replace(state, store=store, faults=less(left, "wrong_expiry"))
                yield Step(f"{line.incarnation} expires wrongly", after, fault=True)
    if left.failover and state.replica is None:
        lags = replace(state, replica=state.store, faults=less(left, "failover"))
        yield Step("the replica falls behind from here on", lags, fault=True)
    if state.replica is not None:
        yield Step("failover to the replica", _fail_over(state, state.replica, flow, rules), fault=True)


def _cut(state: State, number: int, label: str) -> Moves:
    """Close the worker's line; any first part of its calls still lands."""
    at = states.line_of(state, number)
    if at is None:
        yield Step(label, state, fault=True)
        return
    line = state.lines[at]
    for count in range(len(line.calls) + 1):
        some = f", {count} of {len(line.calls)} calls still land" if line.calls else ""
        yield Step(label + some, states.set_line(state, at, line.closed(count)), fault=True)


def _expire(store: Store, incarnation: Incarnation, rules: Rules) -> Store:
    store = replace(store, sessions=store.sessions - {incarnation})
    return store if rules.sweep_holders else protocol.release(store, incarnation, store.lease)


def _fail_over(state: State, replica: Store, flow: Flow, rules: Rules) -> State:
    """What was written since is gone, but for the sessions; clients send their mail again."""
    store = replace(replica, sessions=state.store.sessions)
    mail = tuple(item for item in flow.mail if item[0] not in store.history + store.mail)
    lines = state.lines
    if rules.reincarnate:
        lines = tuple(replace(line, outdated=line.is_open) for line in lines)
    return replace(state, store=store, replica=None, lossy=True, to_deliver=mail, lines=lines)
