"""Traps: what would differ on replay is refused in a run, and free elsewhere."""

import json
import time

import pytest

from aiki_task.payloads import Payload
from aiki_workflow import WorkflowBugError, events, untrapped, workflow
from tests.unit.workflow import trapped_workflows as trapped
from tests.unit.workflow.driver import make_engine, started


def _started(name: str) -> events.RunStarted:
    return started(trapped.calls, name)


@pytest.mark.parametrize("name", trapped.CALLS)
def test_a_run_is_told_what_to_use(name: str) -> None:
    """The run is parked, with the sentence that helps."""
    engine = make_engine(trapped.calls)
    with pytest.raises(
        WorkflowBugError, match=f"{name} differs when a run is replayed: in a workflow use .* instead"
    ):
        engine.feed(_started(name))


@workflow
async def says_it_knows() -> float:
    """Does it on purpose."""
    with untrapped():
        return time.time()


def test_what_is_done_on_purpose() -> None:
    """It is let through, and the trap is set again."""
    (end,) = make_engine(says_it_knows).feed(started(says_it_knows))

    assert isinstance(end, events.RunCompleted)
    with pytest.raises(WorkflowBugError):
        make_engine(trapped.calls).feed(_started("time.time"))


@pytest.mark.parametrize("name", trapped.HARMLESS)
def test_what_a_run_may_do(name: str) -> None:
    """Logging and generators of its own are no harm."""
    (end,) = make_engine(trapped.calls).feed(_started(name))

    assert isinstance(end, events.RunCompleted)
    assert json.loads(end.output.data) == "done"
    assert isinstance(end.output, Payload)


@pytest.mark.parametrize(
    "name", ["time.time", "time.perf_counter", "random.random", "uuid.uuid4", "open", "time.sleep"]
)
def test_elsewhere_nothing_is_trapped(name: str) -> None:
    """The same functions, called by a task of the module."""
    make_engine(trapped.calls)

    trapped.CALLS[name]()
