"""The public surface is `__all__`, and changes only on purpose."""

import importlib
import subprocess
import sys

import pytest

SURFACES = {
    "aiki_task": """
        AikiError DefinitionError DurationError Failure NotInRunError PayloadError PayloadTooLargeError
        PayloadTypeError Retry Task TaskContext TaskFailed TaskOptions TaskTimeoutError UnsupportedTypeError
        current_task task
    """,
    "aiki_workflow": """
        DivergedError IdPolicy NotDurableError ReplayFilter Signal Workflow WorkflowBugError WorkflowOptions
        now random run_info signal sleep uuid4 workflow
    """,
    "aiki_client": """
        Blocking Client CoordinatorUnavailableError InvalidArgumentError NoWorkerError NotStalledError
        RefusedError RevisionError Run RunClosedError RunFailedError RunNotFoundError RunOutcomeError
        RunStalled RunState RunView SettingsError StoreError StoreFullError StoreUnavailableError
        StoreUnsafeError TaskView UnknownVersionError UnknownWorkflowError WaitTimeoutError WorkflowIdTaken
    """,
    "aiki_sdk": """
        AikiError Blocking Client Failure IdPolicy Retry Run RunFailedError RunStalled RunState Signal Task
        TaskContext TaskFailed Workflow WorkflowIdTaken current_task errors now random run run_info signal
        sleep task uuid4 workflow
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
