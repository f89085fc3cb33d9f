"""The state of model A, and how its parts are read and replaced."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.model.holding import Holding
from tests.model.protocol import (
    Accepted,
    Answer,
    Call,
    Commit,
    Faults,
    Flow,
    Forget,
    Grant,
    Granted,
    Incarnation,
    Refused,
    Rules,
    Store,
    worker_of,
)

NOBODY = Incarnation(0)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process. `session` is the incarnation it would resume; `old` tasks run on from leases that are over."""

    session: Incarnation = NOBODY
    run: Holding | None = None
    old: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A stream and the coordinator's end of it. Once it is not open, only its calls are left.

    `outdated`: the store has failed over since, which is not noticed yet.
    """

    incarnation: Incarnation
    is_open: bool = True
    welcomed: bool = False
    outdated: bool = False
    calls: tuple[Call, ...] = ()
    answers: tuple[Answer, ...] = ()

    def closed(self, calls_left: int) -> Line:
        """What remains when it breaks and only the first calls had come through."""
        return Line(self.incarnation, is_open=False, calls=self.calls[:calls_left])


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything.

    `replica` is what a failover would leave; after one, writes that were acknowledged may be gone.

    `wrong` is what was seen to go wrong.
    """

    store: Store
    workers: tuple[Worker, ...]
    lines: tuple[Line, ...] = ()
    to_deliver: tuple[tuple[str, str], ...]
    faults: Faults
    replica: Store | None = None
    lossy: bool = False
    wrong: str = ""


def line_of(state: State, number: int) -> int | None:
    """Where the open line of a worker is."""
    for at, line in enumerate(state.lines):
        if line.is_open and worker_of(line.incarnation) == number:
            return at
    return None


def set_line(state: State, at: int, line: Line) -> State:
    """With another line there, or none if nothing is left of it."""
    kept = (line,) if line.is_open or line.calls else ()
    return replace(state, lines=(*state.lines[:at], *kept, *state.lines[at + 1 :]))


def set_worker(state: State, number: int, worker: Worker) -> State:
    """With that worker so."""
    return replace(state, workers=(*state.workers[:number], worker, *state.workers[number + 1 :]))


def call(state: State, at: int, new: Call) -> State:
    """One more call on its way to the store."""
    line = state.lines[at]
    return set_line(state, at, replace(line, calls=(*line.calls, new)))


def with_run(state: State, number: int, run: Holding, flow: Flow) -> State:
    """With that worker's run so; a task that starts before its cause is recorded is wrong."""
    worker = state.workers[number]
    before = "" if worker.run is None else worker.run.running
    for task, cause in () if state.lossy else flow.local:
        if task in run.running and task not in before and cause not in state.store.history:
            state = replace(state, wrong=f"{task} started before its cause {cause} was recorded")
    return set_worker(state, number, replace(worker, run=run))


def drop(state: State, number: int, rules: Rules) -> State:
    """The worker gives its run up; what cannot be cancelled runs on."""
    worker = state.workers[number]
    if worker.run is None:
        return state
    old = worker.old
    if not rules.results_carry_lease:
        old = "".join(sorted({*old, *worker.run.running}))
    return set_worker(state, number, replace(worker, run=None, old=old))


def new_incarnation(state: State, number: int) -> Incarnation:
    """The first that nothing names."""
    used = {*state.store.sessions, *state.store.held, state.workers[number].session}
    for line in state.lines:
        used.add(line.incarnation)
        used |= {item.old for item in line.calls if isinstance(item, Forget)}
    return Incarnation(next(name for name in range(10 * number + 11, 10 * number + 20) if name not in used))


def new_nonce(state: State) -> int:
    """The first that nothing names."""
    used = {store.lease.nonce for store in (state.store, state.replica) if store is not None}
    used |= {worker.run.lease.nonce for worker in state.workers if worker.run is not None}
    for line in state.lines:
        for item in (*line.calls, *line.answers):
            if isinstance(item, Grant):
                used.add(item.nonce)
            elif not isinstance(item, Forget) and hasattr(item, "lease"):
                used.add(item.lease.nonce)
    return next(nonce for nonce in range(1, 100) if nonce not in used)


def words(item: Call | Answer) -> str:
    """For people."""
    match item:
        case Commit():
            marks = "".join(f" {mark}" for mark in ("drain", "idle", "close") if getattr(item, mark))
            return f"commit {item.number} [{item.events}]{marks} under epoch {item.lease.epoch}"
        case Granted():
            return f"the grant of epoch {item.lease.epoch} with history {item.history}"
        case Accepted():
            released = ", released" if item.released else ""
            return f"that commit {item.number} stands, drained [{item.drained}]{released}"
        case Refused():
            return "GAP" if item.gap else "FENCED"
        case _:
            return type(item).__name__.lower()
