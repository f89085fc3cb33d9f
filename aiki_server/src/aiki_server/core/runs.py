"""What the store says about runs and remote tasks, and what it is told.

Plain values: `store/` makes them from replies, `rpc/` and `loops/` decide with them. Events, specs and
failures are serialized protobuf messages here; nothing below the wire looks inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from aiki_server.core.placement import ANYWHERE, Placement


@unique
class RunState(StrEnum):
    """Where a run is. `RUNNING`: something is to be done or being done; `WAITING`: nothing is.

    `PAUSED`: held by an operator; `SCHEDULED`: not begun; `CONTINUED`: another run goes on with its work;
    `REFUSED`: of a child that could not be started, and never seen by anybody.
    """

    RUNNING = "running"
    WAITING = "waiting"
    STALLED = "stalled"
    PAUSED = "paused"
    SCHEDULED = "scheduled"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    CONTINUED = "continued"
    REFUSED = "refused"

    @property
    def is_closed(self) -> bool:
        return self in CLOSED_STATES


LISTED_CLOSED_STATES: Final = (
    *(RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.TERMINATED, RunState.TIMED_OUT),
)
"""Closed runs that listings show: of a chain, only the last."""
CLOSED_STATES: Final = frozenset({*LISTED_CLOSED_STATES, RunState.CONTINUED, RunState.REFUSED})


@unique
class IdPolicy(StrEnum):
    """What a start does when the workflow id is in use. Only REPLACE_CLOSED changes what the store does."""

    EQUAL = "equal"
    REJECT = "reject"
    RETURN_EXISTING = "return_existing"
    REPLACE_CLOSED = "replace_closed"


@unique
class TimerKind(StrEnum):
    """What a timer is for: the run's own, a local task's backoff, a remote task's next deadline, a delayed start."""

    TIMER = "timer"
    RETRY = "retry"
    TASK = "task"
    WAKE = "wake"


@unique
class TaskState(StrEnum):
    """Where a remote task is."""

    READY = "ready"
    LEASED = "leased"
    DEFERRED = "deferred"
    BACKOFF = "backoff"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class LeaseToken:
    """Names a lease for ever; `address` is empty for the run itself."""

    run_id: str
    address: str
    epoch: int
    nonce: str


@dataclass(frozen=True, slots=True)
class CacheMark:
    """What a worker has in its cache: the run as it stood at this acknowledged release."""

    epoch: int
    nonce: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything of the run hash, and the lengths beside it.

    `epoch` and `nonce` are those of the newest lease, over or not; the run is held when `holder` (an
    incarnation) is not empty. `closing_event` is the last event of a closed run, empty otherwise and in
    listings; `failure` is why a run is stalled. `parent`, `next` and `previous` are run ids; `held_ms` is when its newest lease began, `paused` how it is
    held: "run" when its timers run on, "freeze" when they stand still; `runtime` is what ran its code last.
    """

    namespace: str
    run_id: str
    workflow_id: str
    workflow: str
    version: str
    queue: str
    state: RunState
    start_ms: int
    close_ms: int
    epoch: int
    nonce: str
    holder: str
    length: int
    mail: int
    failure: bytes = b""
    closing_event: bytes = b""
    mark: CacheMark | None = None
    parent: str = ""
    next: str = ""
    previous: str = ""
    paused: str = ""
    runtime: str = ""
    placement: Placement = ANYWHERE
    held_ms: int = 0

    @property
    def token(self) -> LeaseToken | None:
        """The lease that is held now."""
        return LeaseToken(self.run_id, "", self.epoch, self.nonce) if self.holder else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """A run to start. `started_event` is a serialized Event, `input_hash` tells equal arguments.

    `begins_ms` 0: at once. `parent` is the run whose child it is, "" if none. `mail` is an Event delivered with it.
    `deadline_ms` is when its time is up; 0: never.
    """

    namespace: str
    workflow_id: str
    run_id: str
    workflow: str
    version: str
    queue: str
    input_hash: str
    policy: IdPolicy
    started_event: bytes
    begins_ms: int = 0
    parent: str = ""
    parent_address: str = ""
    mail: bytes = b""
    deadline_ms: int = 0
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Started:
    """The run is there because of this request; `repeat` when an earlier copy of it did it.

    `refused`: that copy was refused, which is recorded for children.
    """

    run_id: str
    repeat: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Existing:
    """Another run has the workflow id; `equal` when workflow, version and arguments are the same."""

    run_id: str
    state: RunState
    equal: bool


StartOutcome = Started | Existing


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease of a run. `events` start at `first_index` and may end before `length`: page the rest.

    `mail_waits`: more mail is there than one drain takes, so poke the holder. `losses`: leases lost with dead
    workers since the run last waited.
    """

    token: LeaseToken
    length: int
    first_index: int
    events: list[bytes]
    mail_waits: bool
    record: RunRecord
    losses: int = 0


@dataclass(frozen=True, slots=True)
class NotReady:
    """Nothing to grant or take: held by another, stalled, closed, gone, or nothing is to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchedTask:
    """A remote task to queue. `handler` is `t:NAME`, `spec` a serialized TaskSpec.

    `queue_ms` is the longest it may wait there; that and the deadline may be 0: none.
    """

    address: str
    handler: str
    queue: str
    spec: bytes
    attempts_made: int = 0
    deadline_ms: int = 0
    queue_ms: int = 0
    placement: Placement = ANYWHERE


@dataclass(slots=True, kw_only=True)
class Effects:
    """What a commit's events mean beyond the history, gathered event by event.

    Timers are TIMER or RETRY, never TASK. `fields` are of the run's state: `s:KEY` a published value, `u:ID` the
    answer to an update. `children` have a JSON record each, `outbox` serialized events for other runs.
    """

    timers: list[tuple[str, int, TimerKind]] = field(default_factory=list[tuple[str, int, TimerKind]])
    cancelled_timers: list[tuple[str, TimerKind]] = field(default_factory=list[tuple[str, TimerKind]])
    dispatches: list[DispatchedTask] = field(default_factory=list[DispatchedTask])
    cancelled_tasks: list[str] = field(default_factory=list[str])
    fields: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    children: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    outbox: list[bytes] = field(default_factory=list[bytes])
    closing: RunState | None = None
    next_run: NextRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    """The run that continues one: `mail` begins with its RunStarted; `begins_ms` 0: at once.

    `deadline_ms` is when its time is up; 0: never.
    """

    run_id: str
    workflow_id: str
    version: str
    begins_ms: int
    mail: list[bytes]
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True)
class HeldTask:
    """A remote task's lease and who holds it, to push a Cancel to."""

    token: LeaseToken
    incarnation: str


@dataclass(frozen=True, slots=True)
class Committed:
    """The commit stands. `length` counts what was drained.

    `waiters` are the coordinators to tell when `closed`, or when the commit stalled the run;
    `cancelled_leases` are to be pushed a Cancel. A repeat gets the same answer, with no cancelled leases.
    `outbox_moved`: there is something for other runs.
    """

    length: int
    drained: list[bytes]
    mail_waits: bool
    released: bool
    closed: bool
    waiters: list[str]
    cancelled_leases: list[HeldTask]
    outbox_moved: bool = False


@dataclass(frozen=True, slots=True)
class Fenced:
    """The lease is over; nothing was changed. `current` is the lease held now, if any."""

    current: LeaseToken | None
    current_incarnation: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A commit before this one is missing; nothing was changed."""

    last_number: int


@dataclass(frozen=True, slots=True)
class Attention:
    """A run that has something to do, and where it can be done.

    `holder` is its lease (poke `incarnation`); with none, grant it or hint `handler` in `queue`.
    `stalled`: nothing will be done until it is woken. `fresh`: nobody was told before; otherwise a
    hint or poke for it is under way, and another is harmless but useless.
    """

    run_id: str
    namespace: str
    queue: str
    handler: str
    holder: LeaseToken | None
    incarnation: str
    stalled: bool
    fresh: bool
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Delivered:
    """The input is in the run's mailbox; `repeat` when it was there before (`attention` is None then)."""

    run_id: str
    repeat: bool
    attention: Attention | None


@dataclass(frozen=True, slots=True)
class RunClosed:
    """The run is closed and takes nothing more."""

    run_id: str
    state: RunState


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no such run (or task)."""


@dataclass(frozen=True, slots=True)
class NotStalled:
    """The run is not stalled."""

    run_id: str
    state: RunState


@dataclass(frozen=True, slots=True)
class Paused:
    """The run is held, or will be when `attention.holder` gives it back."""

    attention: Attention


@dataclass(frozen=True, slots=True)
class Terminated:
    """The run is closed. `ended` is the lease it was held under, if it was, and by whom."""

    waiters: list[str]
    cancelled_leases: list[HeldTask]
    outbox_moved: bool
    ended: HeldTask | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What a run needs to go on from an event of another.

    `length` events are kept; `first` takes the place of the first of them, and the note RunReset follows. `timers`
    are addresses and when they are due, ms; `fields` what is in its state; `children` addresses and records; `mail`
    events. `deadline_ms` is when its time is up; 0: never.
    """

    length: int
    first: bytes
    note: bytes
    timers: list[tuple[str, int]]
    fields: list[tuple[str, bytes]]
    children: list[tuple[str, str]]
    mail: list[bytes]
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True)
class Changed:
    """The run has moved on since it was read."""


@dataclass(frozen=True, slots=True)
class IdTaken:
    """The workflow id belongs to this run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class WrongState:
    """The run is not in a state in which this can be done."""

    state: RunState


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Something for another run, in the partition of the run it comes from.

    `kind` "command": `event` is a ChildScheduled, ChildCancelled or SignalSent of `source`; "done": `event` is how
    `source` ended, for the child at `address` of `target`; "closed": the children of `source` meet their policy; "moved":
    `source` took over the child at `address` of `target`, whose run id is `event`.
    """

    entry_id: str
    kind: str
    namespace: str
    source: str
    target: str
    address: str
    event: bytes


@dataclass(frozen=True, slots=True)
class ChildRecord:
    """A child as its parent's partition has it; `state` "open" or how it ended."""

    address: str
    run_id: str
    workflow_id: str
    policy: str
    state: str


@dataclass(frozen=True, slots=True)
class TaskAttention:
    """A remote task that is to be run: take it, or hint `handler` in `queue`."""

    run_id: str
    address: str
    namespace: str
    queue: str
    handler: str
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Released:
    """The lease is over. `attention` is what is to be done now, if the thing is still open."""

    attention: Attention | TaskAttention | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The task has begun and runs at most once: it stays leased, and nobody will know how it ended.

    `worker` is the holder's name for people.
    """

    token: LeaseToken
    incarnation: str
    worker: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease of a remote task; `attempt` counts from 1, `checkpoint` is a serialized Payload or empty."""

    token: LeaseToken
    spec: bytes
    attempt: int
    deadline_ms: int
    checkpoint: bytes = b""


@dataclass(frozen=True, slots=True)
class RunsAlone:
    """The task has lost leases, and only a session that holds nothing else may take it."""

    queue: str
    handler: str


@dataclass(frozen=True, slots=True)
class Expired:
    """A deferred attempt was not completed in time; `attempt` counts from 1."""

    token: LeaseToken
    spec: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class Deferred:
    """Somebody completes the task later, until `until_ms`; 0: without limit."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Completed:
    """The result is in the run's mailbox; `attention` says whom to tell (also on a repeat)."""

    attention: Attention


@dataclass(frozen=True, slots=True)
class Retrying:
    """The next attempt waits for `due_ms`."""

    due_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A remote task as it stands. `attempts_made` counts failed attempts; `failure` is the last one's.

    `started`: the holder has said that the attempt has begun. `is_alone`: its session has nothing else. `deaths`: the
    incarnations that were lost while it ran alone on them.
    """

    address: str
    handler: str
    queue: str
    state: TaskState
    attempts_made: int
    epoch: int
    nonce: str
    holder: str
    worker: str
    since_ms: int
    due_ms: int
    deadline_ms: int
    started: bool
    failure: bytes = b""
    is_alone: bool = False
    deaths: tuple[str, ...] = ()
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer as the index has it."""

    kind: TimerKind
    run_id: str
    address: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Fired:
    """What a timer did: a run has mail (`attention`), or a remote task is ready (TaskAttention).

    `cancelled` is the lease of a remote task whose total deadline passed while it ran.
    """

    attention: Attention | TaskAttention
    cancelled: HeldTask | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """An entry of a queue's stream: `member` is what `ready_run` or `ready_task` of the keys made."""

    stream: str
    entry_id: str
    run_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ReadyEntry:
    """An entry of the index of what needs attention, with all that is needed to act on it."""

    attention: Attention | TaskAttention
    hinted_ms: int
