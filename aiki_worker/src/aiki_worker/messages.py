"""What the session and the main thread tell each other: plain values, parsed once in `wire.py`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum, unique

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.records import keyword_record, record
from aiki_worker.run_ledger import TaskSpec
from aiki_workflow import events


@record
class Lease:
    """The right to work on a run, or (with an address) on one remote task of it."""

    run_id: str
    address: str
    epoch: int
    nonce: str

    @property
    def thing(self) -> tuple[str, str]:
        """What it is a lease of."""
        return self.run_id, self.address


@record
class Refusal:
    """Why a message changed nothing; `reason` is one of docs/protocol.md."""

    reason: str
    message: str


@keyword_record
class Connected:
    """A stream is up. `lost` are the leases that did not survive; credits start anew.

    `counts_slots`: credit for tasks is in slots here, otherwise in tasks.
    """

    stream: int
    lost: Sequence[Lease]
    revision: int = 1
    counts_slots: bool = False


@record
class SessionLost:
    """Every lease is gone: drop everything."""


@keyword_record
class RunGrant:
    """A run to work on; `events` start at `first_index` of `length`.

    `lease_losses`: workers that died with it since it last waited.
    """

    lease: Lease
    workflow_id: str
    workflow: str
    version: str
    queue: str
    length: int
    first_index: int
    events: Sequence[events.Event]
    lease_losses: int = 0
    priority: int = 0


@keyword_record
class HistoryPage:
    """A part of the history that was asked for."""

    lease: Lease
    first_index: int
    events: Sequence[events.Event]
    refusal: Refusal | None


@keyword_record
class CommitResult:
    """The answer to a commit; nothing but `refusal` counts when that is set."""

    lease: Lease
    number: int
    length: int
    drained: Sequence[events.Event]
    mail_waits: bool
    released: bool
    refusal: Refusal | None


@keyword_record
class TaskAssignment:
    """A remote task to run. `deadline_ms` 0: none; `timeout_s` and `heartbeat_s` None: without limit.

    `dispatched_ms` is when it went to its queue, for its first attempt there; else 0.

    `checkpoint` is what an earlier attempt left; `completion_token` completes this one from elsewhere.
    """

    lease: Lease
    task: str
    input: Payload
    timeout_s: float | None
    deadline_ms: int
    workflow_id: str
    attempt: int
    slots: int = 1
    heartbeat_s: float | None = None
    checkpoint: Payload | None = None
    completion_token: str = ""
    at_most_once: bool = False
    traceparent: str = ""
    trace_link: str = ""
    queue: str = ""
    dispatched_ms: int = 0


@record
class TaskReportResult:
    """The answer to a report; with a refusal it changed nothing."""

    lease: Lease
    refusal: Refusal | None


@record
class TaskStartResult:
    """A task that runs at most once may begin, unless it is refused."""

    lease: Lease
    refusal: Refusal | None


@record
class Poke:
    """Mail waits for a run."""

    lease: Lease


@record
class Cancel:
    """A remote task is no longer wanted."""

    lease: Lease


@record
class Recall:
    """A run is to be given back as soon as what runs of it is recorded; or something, if it has not begun."""

    lease: Lease
    unstarted_only: bool = False


@record
class Withdrawn:
    """A grant or an assignment was given back before it came this far."""

    given: RunGrant | TaskAssignment


@unique
class Refusing(StrEnum):
    """Why what was recalled is kept."""

    STARTED = "started"
    NOT_HELD = "not_held"


@keyword_record
class Query:
    """Look at a run without a lease: ask a query, or whether an update would be accepted."""

    query_id: str
    run_id: str
    workflow_id: str
    workflow: str
    version: str
    queue: str
    length: int
    events: Sequence[events.Event]
    is_update: bool
    name: str
    input: Payload


@record
class Fatal:
    """The session cannot go on, here or elsewhere."""

    error: Exception


Inbound = (
    Connected
    | SessionLost
    | RunGrant
    | HistoryPage
    | CommitResult
    | TaskAssignment
    | TaskReportResult
    | Poke
    | Cancel
    | Recall
    | Withdrawn
    | TaskStartResult
    | Query
    | Fatal
)


@keyword_record
class TaskReport:
    """A remote attempt is over, with an output or a failure; a `final` failure is not retried.

    Without an outcome somebody gives that later. `retry_after_s` overrules the delay of the retry policy.
    """

    lease: Lease
    outcome: Payload | FailureInfo | None
    final: bool
    duration_ms: int
    retry_after_s: float | None = None


__all__ = [
    "Cancel",
    "CommitResult",
    "Connected",
    "Fatal",
    "HistoryPage",
    "Inbound",
    "Lease",
    "Poke",
    "Query",
    "Recall",
    "Refusal",
    "Refusing",
    "RunGrant",
    "SessionLost",
    "TaskAssignment",
    "TaskReport",
    "TaskReportResult",
    "TaskSpec",
    "TaskStartResult",
    "Withdrawn",
]
