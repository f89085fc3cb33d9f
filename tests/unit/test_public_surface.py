"""The public surface is `__all__`, and changes only on purpose."""

import importlib
import subprocess
import sys

import pytest

SURFACES = {
    "aiki_task": """
        AikiError DefinitionError DurationError Failure NotInRunError OutcomeUnknown PayloadError PayloadTooLargeError
        PayloadTypeError PlacementError Retry RetryAfter Task TaskContext TaskFailed TaskOptions TaskTimeoutError
        UnsupportedTypeError AttemptCancelled Lifespan ProcessDied ResourceMissingError complete_later
        current_task heartbeat lifespan task
    """,
    "aiki_workflow": """
        ChildFailed ChildRun CompensationFailed DivergedError Graph GraphError GraphFailed HookInfo
        IdPolicy Node NodeState NonDeterministicCallError NotDurableError Query Results RemoteRun
        ReplayFilter Saga Signal SignalFailed TaskCancelledError Update UpdateRejected Workflow
        WorkflowBugError WorkflowOptions main map now patched publish query random remote_run run_info
        should_continue signal sleep untrapped update updates_answered uuid4 workflow
    """,
    "aiki_client": """
        Blocking ChildView Client CoordinatorUnavailableError EventNotFoundError Explanation InvalidArgumentError
        LogLine NoWorkerError NotRunningError NotStalledError QueryFailedError QueryRejectedError RefusedError
        RevisionError Run RunCancelledError RunClosedError RunFailedError RunNotFoundError
        RunOutcomeError RunStalled RunState RunTerminatedError RunTimedOutError RunView SettingsError
        SignalView StoreError StoreFullError StoreUnavailableError StoreUnsafeError TaskNotFoundError
        TaskView TimerNotFoundError TimerView Tls UnknownVersionError UnknownWorkflowError UpdateFailedError
        WaitReason WaitTimeoutError WorkflowIdTaken
    """,
    "aiki_sdk": """
        AikiError Blocking ChildFailed ChildRun Client Failure Graph GraphFailed HookInfo IdPolicy Lifespan
        Query Retry RetryAfter Run RunFailedError RunStalled RunState Saga Signal Task TaskCancelledError
        TaskContext TaskFailed Tls Update UpdateRejected Workflow WorkflowIdTaken complete_later
        current_task errors heartbeat lifespan main map now patched publish query random remote_run run run_info
        should_continue signal sleep task untrapped update updates_answered uuid4 workflow
    """,
}
LIGHT = "import sys, aiki_sdk; print(sorted({'grpc', 'pydantic', 'rich', 'google'} & sys.modules.keys()))"


@pytest.mark.parametrize("package", sorted(SURFACES))
def test_all_is_what_it_was(package: str) -> None:
    """`__all__` is pinned, sorted, and every name of it is there."""
    module = importlib.import_module(package)

    assert sorted(module.__all__) == sorted(SURFACES[package].split())
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_unknown_names_are_refused() -> None:
    """The lazy part of the surface does not swallow typing errors."""
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        _ = importlib.import_module("aiki_sdk").Clinet


def test_authors_modules_import_fast() -> None:
    """What authors import brings neither grpc nor pydantic."""
    finished = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)

    assert finished.stdout.strip() == "[]"


def test_every_error_is_in_one_place() -> None:
    """`aiki_sdk.errors` holds all expected errors of the parts people import."""
    from aiki_sdk import errors

    known = {
        name
        for package in ("aiki_task", "aiki_workflow", "aiki_client")
        for name, value in vars(importlib.import_module(package)).items()
        if isinstance(value, type) and issubclass(value, errors.AikiError)
    }

    assert known - {"WorkflowBugError"} <= set(errors.__all__)
