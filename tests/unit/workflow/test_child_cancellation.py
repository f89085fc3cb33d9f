"""A child whose call is cancelled: it is asked to stop, and what awaits it goes on when it has ended."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from aiki_task.errors import DefinitionError
from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_workflow import ChildFailed, Workflow, events, sleep, workflow
from aiki_workflow.engine import RunEngine
from tests.unit.workflow.driver import make_engine, started

CHILD = "workflow:child/=named"
STOPPED = FailureInfo(kind="cancelled", type="RunCancelled", message="it was asked to stop")


@workflow
async def child() -> str:
    """Played by the tests."""
    return ""


@workflow
async def parent(policy: str) -> str:
    """Tells how its call of the child ended."""
    await sleep("1s")
    try:
        return await child.with_(id="named", cancel_policy="wait" if policy == "wait" else "request")()
    finally:
        await sleep("2s")


@workflow
async def patient() -> str:
    """Gives the child a second, in a scope."""
    try:
        async with asyncio.timeout(1):
            return await child.with_(id="named")()
    except TimeoutError:
        return "timed out"
    except ChildFailed as error:
        return f"failed: {error.type_name}"


@workflow
async def gathers() -> list[object]:
    """Two at once, one of which fails."""
    names = ("named", "other")
    return list(await asyncio.gather(*(child.with_(id=name)() for name in names)))


_engines: list[RunEngine] = []


@pytest.fixture(autouse=True)
def evicted() -> Iterator[None]:
    """What a test leaves open is closed, as a worker does it."""
    yield
    while _engines:
        _engines.pop().close()


def _engine(flow: Workflow[..., Any]) -> RunEngine:
    _engines.append(make_engine(flow))
    return _engines[-1]


def _kinds(commands: list[events.Command]) -> list[str]:
    return [type(command).__name__ for command in commands]


def _waiting(policy: str) -> RunEngine:
    engine = _engine(parent)
    engine.feed(started(parent, policy))
    assert _kinds(engine.feed(events.TimerFired(1_001_000, "sleep/1000ms/1"))) == ["ChildScheduled"]
    return engine


def _end(failure: FailureInfo | None) -> events.Input:
    if failure is None:
        return events.ChildCompleted(1_003_000, CHILD, Payload(b'"all the same"', "json"))
    return events.ChildFailed(1_003_000, CHILD, failure)


@pytest.mark.parametrize(
    "failure", [STOPPED, FailureInfo(kind="terminated", type="RunTerminated", message=""), None]
)
def test_the_end_of_the_child_is_waited_for(failure: FailureInfo | None) -> None:
    """Clean-up begins after it, and the run ends cancelled, however the child took it."""
    engine = _waiting("wait")
    assert _kinds(engine.feed(events.CancelRequested(1_002_000, "enough"))) == ["ChildCancelled"]
    assert engine.feed(events.SignalReceived(1_002_500, "x", Payload(b"1", "json"))) == []

    assert _kinds(engine.feed(_end(failure))) == ["TimerStarted"]
    (end,) = engine.feed(events.TimerFired(1_005_000, "sleep/2000ms/1"))
    assert isinstance(end, events.RunCancelled)
    assert end.failure.message == "enough"


def test_a_child_that_fails_by_its_clean_up() -> None:
    """That is how the call ends, as if the child's code were here."""
    engine = _waiting("wait")
    engine.feed(events.CancelRequested(1_002_000, "enough"))
    engine.feed(_end(FailureInfo(type="ValueError", message="clean-up broke")))
    (end,) = engine.feed(events.TimerFired(1_005_000, "sleep/2000ms/1"))
    assert isinstance(end, events.RunFailed)
    assert end.failure.type == "ChildFailed"


def test_a_child_that_is_only_asked() -> None:
    """Clean-up begins at once, and its end is a recorded no-op."""
    engine = _waiting("request")
    asked = engine.feed(events.CancelRequested(1_002_000, "enough"))
    assert _kinds(asked) == ["ChildCancelled", "TimerStarted"]
    assert engine.feed(_end(STOPPED)) == []


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (STOPPED, "timed out"),
        (None, "timed out"),
        (FailureInfo(type="ValueError", message=""), "failed: ValueError"),
    ],
)
def test_a_timeout_scope_waits_too(failure: FailureInfo | None, told: str) -> None:
    """It ends when the child has."""
    engine = _engine(patient)
    engine.feed(started(patient))
    assert _kinds(engine.feed(events.TimerFired(1_001_000, "sleep/1000ms/1"))) == ["ChildCancelled"]
    (end,) = engine.feed(_end(failure))
    assert isinstance(end, events.RunCompleted)
    assert end.output.data.decode() == f'"{told}"'


def test_cancelled_by_the_failure_of_another() -> None:
    """The run ends with the first failure; the other child meets the close policy."""
    engine = _engine(gathers)
    engine.feed(started(gathers))
    ended = engine.feed(_end(FailureInfo(type="ValueError", message="no")))
    assert _kinds(ended) == ["RunFailed"]


def test_the_same_from_every_prefix() -> None:
    """A worker that takes over anywhere waits likewise."""
    first = started(parent, "wait")
    inputs: list[events.Input] = [
        first,
        events.TimerFired(1_001_000, "sleep/1000ms/1"),
        events.CancelRequested(1_002_000, "enough"),
        _end(STOPPED),
        events.TimerFired(1_005_000, "sleep/2000ms/1"),
    ]
    whole: list[events.Event] = []
    engine = _engine(parent)
    for event in inputs:
        whole += [event, *engine.feed(event)]
    for length in range(1, len(whole) + 1):
        again = _engine(parent)
        history = list(whole[:length])
        history += again.replay(history)
        for recorded in whole[length:]:
            if isinstance(recorded, events.INPUTS):
                history += [recorded, *again.feed(recorded)]
        assert history == whole, length


def test_a_policy_that_there_is_not() -> None:
    """It is refused where it is written."""
    with pytest.raises(DefinitionError, match="no cancel policy"):
        child.with_(cancel_policy="never")  # type: ignore[arg-type]  # what is tested
