"""A status of the wire becomes the error that its reason stands for."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from aiki_client.cli.program import exit_status
from aiki_client.errors import (
    REFUSALS,
    STATUS_KEY,
    CoordinatorUnavailableError,
    NoWorkerError,
    RefusedError,
    RevisionError,
    RunFailedError,
    RunNotFoundError,
    RunStalled,
    SettingsError,
    StoreUnsafeError,
    WaitTimeoutError,
    from_rpc,
)
from aiki_task.errors import AikiError, PayloadTooLargeError
from aiki_task.failures import FailureInfo

FAILURE = FailureInfo(
    type="TaskFailed",
    message="task 'charge' failed",
    traceback="Traceback: line 7",
    cause=FailureInfo(type="ValueError", message="no money"),
)


def _status(reason: str, message: str, *, domain: str = "aiki") -> grpc.aio.AioRpcError:
    info = AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    detail = status_pb2.Status(code=9, message=message, details=[info]).SerializeToString()
    trailing = grpc.aio.Metadata(("other", "text"), (STATUS_KEY, detail))
    return grpc.aio.AioRpcError(grpc.StatusCode.FAILED_PRECONDITION, grpc.aio.Metadata(), trailing, message)


@pytest.mark.parametrize("reason", sorted(REFUSALS))
def test_each_reason_has_its_error(reason: str) -> None:
    """The coordinator's sentence is kept."""
    error = from_rpc(_status(reason, "no, because"))

    assert type(error) is REFUSALS[reason]
    assert str(error) == "no, because"


def test_payload_over_the_limit() -> None:
    """It is the error that encoding raises, with the coordinator's sentence."""
    error = from_rpc(_status("PAYLOAD_TOO_LARGE", "the arguments take 3 MiB"))

    assert isinstance(error, PayloadTooLargeError)
    assert str(error) == "the arguments take 3 MiB"


def test_unknown_reasons_stay_expected_errors() -> None:
    """A newer coordinator may have reasons that this client does not know."""
    assert type(from_rpc(_status("NEW_REASON", "no"))) is RefusedError


def test_statuses_of_others_are_told_as_such() -> None:
    """A proxy in between speaks for itself."""
    error = from_rpc(_status("RUN_NOT_FOUND", "quota exceeded", domain="proxy.example"))

    assert type(error) is RefusedError
    assert str(error) == "the coordinator answered FAILED_PRECONDITION: quota exceeded"


def test_unimplemented_is_a_matter_of_revisions() -> None:
    """An old coordinator does not know new requests."""
    nothing = grpc.aio.Metadata()

    assert isinstance(
        from_rpc(grpc.aio.AioRpcError(grpc.StatusCode.UNIMPLEMENTED, nothing, nothing)), RevisionError
    )


def test_stalled_tells_the_traceback_and_what_to_do() -> None:
    """People see the line of the bug."""
    message = str(RunStalled("7-ab", FAILURE))

    assert "aiki run resume 7-ab" in message
    assert message.endswith("Traceback: line 7")


def test_failed_tells_the_causes() -> None:
    """The root is named."""
    assert str(RunFailedError("7-ab", FAILURE)) == (
        "run '7-ab' failed with TaskFailed: task 'charge' failed, caused by ValueError: no money"
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CoordinatorUnavailableError({"a:1": "Connection refused"}), 3),
        (RunNotFoundError("no run"), 4),
        (RunStalled("7-ab", FAILURE), 5),
        (RunFailedError("7-ab", FAILURE), 1),
        (WaitTimeoutError("7-ab", ""), 124),
        (SettingsError("unknown key"), 2),
        (NoWorkerError("nobody"), 1),
        (StoreUnsafeError("no AOF"), 1),
    ],
)
def test_exit_statuses(error: AikiError, status: int) -> None:
    """Scripts can tell errors apart."""
    assert exit_status(error) == status
