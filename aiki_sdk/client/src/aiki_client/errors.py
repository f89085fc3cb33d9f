"""What can go wrong between a client and its runs, each error one sentence that says what to do.

    AikiError
    ├── CoordinatorUnavailableError     nothing answers at any address
    ├── WaitTimeoutError                the run is still open when the caller's time is up
    ├── RunOutcomeError                 a run gave no result
    │   ├── RunStalled                  parked by a bug in its code
    │   ├── RunCancelledError, RunTerminatedError, RunTimedOutError
    │   └── RunFailedError              failed with an exception whose class is not known here
    ├── UpdateFailedError               an update was accepted, and failed
    ├── SettingsError                   aiki.toml, the environment or a flag is wrong
    └── RefusedError                    the coordinator said no; `reason` is its word for why
        ├── RunNotFoundError, RunClosedError, NotStalledError, NotRunningError, WorkflowIdTaken
        ├── TaskNotFoundError, TimerNotFoundError, EventNotFoundError
        ├── QueryRejectedError, QueryFailedError
        ├── UnknownWorkflowError, UnknownVersionError, NoWorkerError
        ├── InvalidArgumentError, RevisionError
        └── StoreError: StoreUnavailableError, StoreUnsafeError, StoreFullError

Invariant: a status of the wire becomes one of these in `from_rpc` and nowhere else.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import grpc
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]  ships them unmarked

from aiki_task.errors import AikiError, PayloadTooLargeError
from aiki_task.failures import FailureInfo
from aiki_workflow.errors import UpdateRejected

DOMAIN: Final = "aiki"
STATUS_KEY: Final = "grpc-status-details-bin"


class CoordinatorUnavailableError(AikiError):
    """No coordinator answers.

    Attributes:
        reasons: why, by address.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        told = "; ".join(f"{address}: {reason}" for address, reason in self.reasons.items())
        super().__init__(
            f"coordinator not reachable ({told}): start one with 'aiki dev', or name its address "
            "with --address, AIKI_ADDRESS or [client] address in aiki.toml"
        )


class WaitTimeoutError(AikiError, TimeoutError):
    """The run is still open; it goes on."""

    def __init__(self, run_id: str, waiting_for: str) -> None:
        self.run_id = run_id
        self.waiting_for = waiting_for
        why = f" ({waiting_for})" if waiting_for else ""
        super().__init__(f"run {run_id!r} is still open{why}: it goes on, wait again when you like")


class RunOutcomeError(AikiError):
    """A run gave no result.

    Attributes:
        run_id: which run.
        failure: why, with the traceback where it happened.
    """

    def __init__(self, run_id: str, failure: FailureInfo, message: str) -> None:
        self.run_id = run_id
        self.failure = failure
        super().__init__(message)


class RunStalled(RunOutcomeError):  # the design's name
    """A bug parked the run; it goes on with fixed code."""

    def __init__(self, run_id: str, failure: FailureInfo) -> None:
        told = f"\n{failure.traceback.rstrip()}" if failure.traceback else ""
        super().__init__(
            run_id,
            failure,
            f"run {run_id!r} is stalled by {_named(failure)}: start a worker with fixed code, "
            f"or try again with 'aiki run resume {run_id}'{told}",
        )


class RunFailedError(RunOutcomeError):
    """The run failed with an exception that is not known here by its class."""

    def __init__(self, run_id: str, failure: FailureInfo) -> None:
        causes = "".join(f", caused by {_named(cause)}" for cause in _causes(failure))
        super().__init__(run_id, failure, f"run {run_id!r} failed with {_named(failure)}{causes}")


class RunCancelledError(RunOutcomeError):
    """The run was asked to stop, and did."""

    def __init__(self, run_id: str, failure: FailureInfo) -> None:
        super().__init__(run_id, failure, f"run {run_id!r} was cancelled: {failure.message}")


class RunTerminatedError(RunOutcomeError):
    """The run was ended from outside, without clean-up."""

    def __init__(self, run_id: str, failure: FailureInfo) -> None:
        super().__init__(run_id, failure, f"run {run_id!r} was terminated: {failure.message}")


class RunTimedOutError(RunOutcomeError, TimeoutError):
    """The run was not over within its own time."""

    def __init__(self, run_id: str, failure: FailureInfo) -> None:
        super().__init__(run_id, failure, f"run {run_id!r} timed out: {failure.message}")


class UpdateFailedError(AikiError):
    """A run accepted an update, and failed to do it.

    Attributes:
        failure: why, with the traceback where it happened.
    """

    def __init__(self, update: str, failure: FailureInfo) -> None:
        super().__init__(f"update {update!r} failed with {_named(failure)}")
        self.failure = failure


class SettingsError(AikiError):
    """A setting is unknown or does not fit."""


class RefusedError(AikiError):
    """The coordinator refused a request.

    Attributes:
        reason: the coordinator's word for why (`docs/protocol.md` lists them).
        details: what the refusal is about, by name.
    """

    reason: ClassVar[str] = ""

    def __init__(self, message: str, details: Mapping[str, str] | None = None) -> None:
        self.details = dict(details or {})
        super().__init__(message)


class RunNotFoundError(RefusedError):
    """No such run in this namespace."""

    reason = "RUN_NOT_FOUND"


class RunClosedError(RefusedError):
    """The run is over."""

    reason = "RUN_CLOSED"


class NotStalledError(RefusedError):
    """The run is not stalled, so there is nothing to resume."""

    reason = "NOT_STALLED"


class NotRunningError(RefusedError):
    """The run is not in a state in which this can be done."""

    reason = "NOT_RUNNING"


class TaskNotFoundError(RefusedError):
    """The run has no such open task."""

    reason = "TASK_NOT_FOUND"


class TimerNotFoundError(RefusedError):
    """The run has no such timer, or has several and none was named."""

    reason = "TIMER_NOT_FOUND"


class EventNotFoundError(RefusedError):
    """The run's history has no such event, or cannot be cut there."""

    reason = "EVENT_NOT_FOUND"


class QueryRejectedError(RefusedError):
    """The workflow has no such query, or its arguments do not fit."""

    reason = "QUERY_REJECTED"


class QueryFailedError(RefusedError):
    """The query's code failed."""

    reason = "QUERY_FAILED"


class WorkflowIdTaken(RefusedError):  # the design's name
    """Another run has this workflow id."""

    reason = "WORKFLOW_ID_TAKEN"


class UnknownWorkflowError(RefusedError):
    """No worker ever served this workflow."""

    reason = "WORKFLOW_UNKNOWN"


class UnknownVersionError(RefusedError):
    """The workflow is served, but not in this version."""

    reason = "VERSION_UNKNOWN"


class NoWorkerError(RefusedError):
    """No worker that serves this workflow is connected."""

    reason = "NO_WORKER"


class InvalidArgumentError(RefusedError):
    """The request itself is wrong."""

    reason = "INVALID_ARGUMENT"


class RevisionError(RefusedError):
    """This client and the coordinator speak no common revision of the protocol."""

    reason = "REVISION_UNSUPPORTED"


class StoreError(RefusedError):
    """The coordinator's store is not in a state to serve this."""


class StoreUnavailableError(StoreError):
    """The coordinator cannot reach its store."""

    reason = "STORE_UNAVAILABLE"


class StoreUnsafeError(StoreError):
    """The store could lose what it acknowledges, so the coordinator does not serve."""

    reason = "STORE_UNSAFE"


class StoreFullError(StoreError):
    """The store has no room for new runs."""

    reason = "STORE_FULL"


REFUSALS: Final[Mapping[str, type[RefusedError]]] = {
    refusal.reason: refusal
    for refusal in (
        RunNotFoundError,
        RunClosedError,
        NotStalledError,
        NotRunningError,
        TaskNotFoundError,
        TimerNotFoundError,
        EventNotFoundError,
        QueryRejectedError,
        QueryFailedError,
        WorkflowIdTaken,
        UnknownWorkflowError,
        UnknownVersionError,
        NoWorkerError,
        InvalidArgumentError,
        RevisionError,
        StoreUnavailableError,
        StoreUnsafeError,
        StoreFullError,
    )
}


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    """What an Aiki coordinator says of an error; None when it was somebody else."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info) and info.domain == DOMAIN:
                    return info
    return None


def from_rpc(error: grpc.aio.AioRpcError) -> AikiError:
    """The error of the domain that a status stands for."""
    message = error.details() or error.code().name
    info = error_info(error)
    if info is None:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return RevisionError(
                f"what answers does not know this request ({message}): upgrade the coordinator, "
                "or correct the address if it is none"
            )
        return RefusedError(f"the coordinator answered {error.code().name}: {message}")
    if info.reason == "PAYLOAD_TOO_LARGE":
        return _too_large(message, info.metadata)
    if info.reason == "UPDATE_REJECTED":
        return UpdateRejected(message)
    return REFUSALS.get(info.reason, RefusedError)(message, info.metadata)


def _too_large(message: str, metadata: Mapping[str, str]) -> PayloadTooLargeError:
    size_bytes, limit_bytes = (int(metadata.get(name, "0")) for name in ("size_bytes", "limit_bytes"))
    error = PayloadTooLargeError("the request", size_bytes, limit_bytes)
    error.args = (message,)  # The coordinator knows best which value it was.
    return error


def _named(failure: FailureInfo) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def _causes(failure: FailureInfo) -> list[FailureInfo]:
    causes: list[FailureInfo] = []
    while failure.cause is not None:
        failure = failure.cause
        causes.append(failure)
    return causes
