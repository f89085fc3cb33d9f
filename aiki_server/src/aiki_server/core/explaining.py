"""Why a run does not go on: pure decisions over facts that were read before.

What somebody has to do something about comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiki_server.core.homes import HOMELESS, Cause, home_of
from aiki_server.core.matching import Lane
from aiki_server.core.queues import PoolReport
from aiki_server.core.runs import RunRecord, RunState, TaskRecord, TaskState

REASONS_MAX: Final = 200
URGENT: Final = frozenset({*HOMELESS, Cause.STALLED, Cause.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that a run waits for.

    Attributes:
        address: of the task, timer or child; '' for the run itself.
        advice: what to do about it; '' for nothing.
        since_ms: since when; 0 when that is not known.
        due_ms: when it is over by itself; 0 when it is not.
        position: its place in its lane, from 1; 0 when it has none, or a late one.
        backlog: how much waits in its lane.
    """

    cause: Cause
    message: str
    address: str = ""
    advice: str = ""
    since_ms: int = 0
    due_ms: int = 0
    worker: str = ""
    position: int = 0
    backlog: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in its lane: `position` from 1, 0 when it is not among the first; and how much waits."""

    position: int
    backlog: int


NOWHERE: Final = Place(0, 0)


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that its run's own worker runs, or is to run; `since_ms` 0: not known."""

    address: str
    name: str
    state: str
    worker: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class OpenChild:
    """A child that has not ended."""

    address: str
    workflow_id: str
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was read of a run.

    Attributes:
        worker: who holds it, for people.
        held_ms: since when; 0: not known.
        begins_ms: when a delayed run begins.
        stalled_by: the failure that parked it, in one line.
        lane: where the run itself waits, or would.
        places: where the run ('') and its tasks stand, by address.
        remote: its open remote tasks, and the lanes that they wait in, or would.
        timers: address, since when, when due, of those that have not fired.
    """

    record: RunRecord
    lane: Lane
    pools: Sequence[PoolReport]
    worker: str = ""
    held_ms: int = 0
    begins_ms: int = 0
    stalled_by: str = ""
    places: Mapping[str, Place] = field(default_factory=dict[str, Place])
    remote: Sequence[tuple[TaskRecord, Lane]] = ()
    local: Sequence[OpenTask] = ()
    timers: Sequence[tuple[str, int, int]] = ()
    children: Sequence[OpenChild] = ()


def explain(facts: Facts) -> list[Reason]:
    """Everything that the run waits for."""
    state = facts.record.state
    if state.is_closed:
        message = f"The run is {state}: it waits for nothing."
        return [Reason(cause=Cause.CLOSED, message=message, since_ms=facts.record.close_ms)]
    reasons = [*_of_run(facts), *map(_of_local, facts.local)]
    reasons += [_of_remote(task, lane, facts) for task, lane in facts.remote]
    reasons += [
        Reason(
            cause=Cause.TIMER, message="A timer has not fired.", address=address, since_ms=since, due_ms=due
        )
        for address, since, due in facts.timers
    ]
    reasons += map(_of_child, facts.children)
    if not reasons:
        message = "It waits for a signal or an update."
        reasons.append(Reason(cause=Cause.SIGNAL, message=message))
    return sorted(reasons, key=lambda reason: (reason.cause not in URGENT, bool(reason.address)))


def _of_run(facts: Facts) -> Iterable[Reason]:
    record = facts.record
    match record.state:
        case RunState.PAUSED:
            yield Reason(
                cause=Cause.PAUSED,
                message="An operator holds the run.",
                advice=f"Let it go on with `aiki run resume {record.run_id}`.",
            )
        case RunState.STALLED:
            yield Reason(
                cause=Cause.STALLED,
                message=f"A bug has parked the run: {facts.stalled_by or 'see its failure'}.",
                advice=f"Deploy a worker with fixed code, or try again with `aiki run resume {record.run_id}`.",
            )
        case RunState.SCHEDULED:
            yield Reason(cause=Cause.SCHEDULED, message="Its start was delayed.", due_ms=facts.begins_ms)
        case RunState.RUNNING if record.holder:
            mail = f", with {record.mail} inputs that it has not read" if record.mail else ""
            yield Reason(
                cause=Cause.LEASED,
                message=f"Worker {facts.worker or record.holder} has the run{mail}.",
                since_ms=facts.held_ms,
                worker=facts.worker,
            )
        case RunState.RUNNING:
            yield _queued(facts.lane, facts.pools, facts.places.get("", NOWHERE))
        case _:
            pass


def _queued(
    lane: Lane, pools: Sequence[PoolReport], place: Place, *, address: str = "", since_ms: int = 0
) -> Reason:
    """It waits in its lane: for a worker that fits, or for its turn."""
    home = home_of(lane, pools)
    behind = ""
    if place.position:
        behind = f" It is number {place.position:,} of {place.backlog:,} that wait for the same."
    elif place.backlog:
        behind = f" {place.backlog:,} wait for the same."
    return Reason(
        cause=home.cause,
        message=home.message + behind,
        advice=home.advice,
        address=address,
        since_ms=since_ms,
        position=place.position,
        backlog=place.backlog,
    )


def _of_remote(task: TaskRecord, lane: Lane, facts: Facts) -> Reason:
    attempt = task.attempts_made + 1
    match task.state:
        case TaskState.READY:
            place = facts.places.get(task.address, NOWHERE)
            return _queued(lane, facts.pools, place, address=task.address, since_ms=task.since_ms)
        case TaskState.LEASED:
            verb = "runs" if task.started else "has, and has not begun,"
            return Reason(
                cause=Cause.LEASED,
                message=f"Worker {task.worker or task.holder} {verb} attempt {attempt}.",
                address=task.address,
                since_ms=task.since_ms,
                worker=task.worker,
            )
        case TaskState.BACKOFF:
            return Reason(
                cause=Cause.BACKOFF,
                message=f"Attempt {task.attempts_made} failed; attempt {attempt} waits for its delay.",
                address=task.address,
                since_ms=task.since_ms,
                due_ms=task.due_ms,
            )
        case _:
            return Reason(
                cause=Cause.DEFERRED,
                message="Somebody completes it by the token of its attempt.",
                advice="Complete it with `aiki task complete TOKEN`.",
                address=task.address,
                since_ms=task.since_ms,
            )


def _of_local(task: OpenTask) -> Reason:
    if task.state == "backoff":
        message, cause = "An attempt failed; the next one waits for its delay.", Cause.BACKOFF
    elif task.state == "running":
        message, cause = f"Worker {task.worker} runs it beside its run.", Cause.LEASED
    else:
        message, cause = (
            "The worker that has the run begins it when it may, or runs it already.",
            Cause.LEASED,
        )
    return Reason(
        cause=cause, message=message, address=task.address, since_ms=task.since_ms, worker=task.worker
    )


def _of_child(child: OpenChild) -> Reason:
    return Reason(
        cause=Cause.CHILD,
        message=f"Child run {child.workflow_id} has not ended.",
        advice=f"See what keeps it with `aiki run why {child.workflow_id}`.",
        address=child.address,
        since_ms=child.since_ms,
    )
