"""A run is a deterministic fold over its history."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from aiki_task import task
from aiki_task.payloads import Payload
from aiki_workflow import (
    ChildFailed,
    DivergedError,
    ReplayFilter,
    Workflow,
    WorkflowBugError,
    events,
    patched,
    publish,
    signal,
    sleep,
    uuid4,
    workflow,
)
from aiki_workflow.engine import RunEngine
from tests.unit.workflow.driver import Driver, commands_of, make_engine, outcome, result_of, started

Step = tuple[Any, ...]


@task
def add(number: int) -> int:
    """Fails for multiples of seven, so that programs see failures."""
    if number % 7 == 6:
        message = f"{number} will not do"
        raise ValueError(message)
    return number + 1


_number = signal("number", int)


async def attempt(number: int) -> int:
    """A step that survives the failure of its task."""
    try:
        return await add(number)
    except Exception as error:  # noqa: BLE001  any failure is an outcome here
        return -len(type(error).__name__)


@workflow
async def random_child(number: int) -> int:
    return number


async def attempt_child(number: int) -> int:
    """A child that may fail."""
    try:
        return await random_child(number)
    except ChildFailed:
        return -3


async def interpret(program: list[Step]) -> int:
    """Run a random program; its steps are all that workflows are made of."""
    total = 0
    for kind, numbers in program:
        match kind:
            case "one":
                total += await attempt(numbers[0])
            case "gather":
                total += sum(await asyncio.gather(*(attempt(number) for number in numbers)))
            case "group":
                async with asyncio.TaskGroup() as group:
                    members = [group.create_task(attempt(number)) for number in numbers]
                total = total * 3 + sum(member.result() for member in members)
            case "first":
                waiting = {asyncio.ensure_future(attempt(number)) for number in numbers}
                done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for member in done:
                    total = total * 5 + member.result()
                for member in pending:
                    member.cancel()
            case "completed":
                for item in asyncio.as_completed([attempt(number) for number in numbers]):
                    total = total * 7 + await item
            case "timeout":
                try:
                    async with asyncio.timeout(numbers[0] + 1):
                        total += await attempt(numbers[0])
                except TimeoutError:
                    total -= 1
            case "stopped child":
                try:
                    async with asyncio.timeout(numbers[0] + 1):
                        total += await attempt_child(numbers[-1])
                except TimeoutError:
                    total -= 2
            case "signal":
                total = total * 11 + await _number.wait(timeout=f"{numbers[0] + 1}s", default=-5)
            case "child":
                total += sum(await asyncio.gather(*(attempt_child(number) for number in numbers)))
            case "patch":
                total += await attempt(numbers[0]) if patched(f"patch {numbers[0]}") else 0
            case "cancel":
                dropped = asyncio.ensure_future(attempt(numbers[0]))
                total += await attempt(numbers[-1])
                dropped.cancel()
                publish("total", total)
            case _:
                await sleep(f"{numbers[0]}s")
                total += uuid4().int % 10
    return total


@workflow
async def random_program(program: list[tuple[str, list[int]]]) -> int:
    return await interpret(program)


kinds = st.sampled_from(
    [
        *("one", "gather", "group", "first", "completed", "timeout", "sleep"),
        *("signal", "child", "stopped child", "patch", "cancel"),
    ]
)
programs = st.lists(st.tuples(kinds, st.lists(st.integers(0, 9), min_size=1, max_size=4)), max_size=5)


@example([("timeout", [0]), ("patch", [0])], 0, 0, False)
@given(programs, st.integers(0, 5), st.integers(0, 3), st.booleans())
def test_crashed_at_every_prefix_it_ends_the_same(
    program: list[tuple[str, list[int]]], seed: int, signals: int, cancels: bool
) -> None:
    """Whatever prefix of its history a run goes on from, its commands and its result are the same."""
    whole = Driver(random_program, seed, signals=signals, cancels=cancels)
    end = whole.run(make_engine(random_program), program)

    for length in range(1, len(whole.history)):
        again = Driver(random_program, seed, list(whole.history[:length]), signals, cancels)
        assert again.run(make_engine(random_program)) == end, length
        assert sorted(map(repr, commands_of(again.history))) == sorted(map(repr, commands_of(whole.history)))


PRINT_COMMANDS = """
import sys
ballast = [object() for _ in range(int(sys.argv[1]))]
from tests.unit.workflow.test_replay import random_program
from tests.unit.workflow.driver import Driver, make_engine, commands_of
program = [("first", [1, 2, 3, 4]), ("completed", [5, 6, 7, 8]), ("gather", [1, 2]), ("timeout", [3])]
driver = Driver(random_program, 3)
driver.run(make_engine(random_program), program)
print(*commands_of(driver.history), sep="\\n")
"""


def test_hash_seeds_and_memory_do_not_matter() -> None:
    """Processes with other hash seeds and other allocations issue the same commands."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINT_COMMANDS, ballast],
            cwd=Path(__file__).parents[3],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, ballast in [("1", "10"), ("2", "77777"), ("3", "1234")]
    }

    assert len(outputs) == 1


@workflow
async def cleans_up() -> None:
    try:
        await asyncio.gather(add(1), sleep("1h"))
    finally:
        await add(2)


def test_evicting_a_waiting_run_issues_nothing() -> None:
    """What its clean-up does while it is torn down is not its doing."""
    engine = make_engine(cleans_up)
    engine.feed(started(cleans_up))

    engine.close()

    assert engine.feed(events.TimerFired(2_000_000, "sleep/3600000ms/1")) == []


def _history_of(flow: Workflow[..., Any], tasks: int) -> list[events.Event]:
    """A history in which *tasks* outcomes came, and the run waits for the rest."""
    engine = make_engine(flow)
    history: list[events.Event] = [started(flow)]
    history += engine.feed(started(flow))
    for _ in range(tasks):
        event = outcome(engine, next(iter(engine.open_tasks)), history[-1].at + 1)
        history += [event, *engine.feed(event)]
    return history


@workflow(name="flow")
async def before() -> list[int]:
    return [await add(1), await add(2), await add(3)]


@workflow(name="flow")
async def reordered() -> list[int]:
    return [await add(2), await add(1), await add(3)]


@workflow(name="flow")
async def removed() -> list[int]:
    return [await add(2), await add(3), await add(4)]


@workflow(name="flow")
async def appended() -> list[int]:
    return [await add(1), await add(2), await add(3), await add(4)]


@workflow(name="flow")
async def inserted() -> list[int]:
    return [await add(0), await add(1), await add(2), await add(3)]


@workflow(name="flow")
async def other_input() -> list[int]:
    return [await add(1), await add(5), await add(3)]


@workflow(name="flow")
async def other_branch() -> list[int]:
    return [await add(1), await add(9)]


@workflow(name="flow")
async def ends_early() -> list[int]:
    return [await add(1)]


@pytest.mark.parametrize("changed", [reordered, removed, appended], ids=["reordered", "removed", "appended"])
def test_harmless_edits_pass(changed: Workflow[[], list[int]]) -> None:
    """Live runs survive calls that were moved, removed once finished, or added at the end."""
    driver = Driver(changed, history=_history_of(before, 2))

    end = driver.run(make_engine(changed))

    assert result_of(changed, end)[:2] in ([2, 3], [3, 2], [3, 4])


def test_a_recorded_outcome_waits_for_a_call_that_comes_later() -> None:
    """It is not made again: the code was reordered, and its result is in the history."""
    engine = make_engine(reordered)

    engine.replay(_history_of(before, 2))

    assert list(engine.open_tasks) == [address for address in engine.open_tasks if address.startswith("add/")]
    assert len(engine.open_tasks) == 1


@pytest.mark.parametrize(
    "changed", [inserted, other_input, other_branch, ends_early], ids=lambda flow: flow.function.__name__
)
@pytest.mark.parametrize("tasks", [1, 2])
def test_contradictions_stop_before_any_effect(changed: Workflow[[], list[int]], tasks: int) -> None:
    """The error names both calls and the line; the right code still picks the run up."""
    history = _history_of(before, tasks)

    with pytest.raises(DivergedError) as diverged:
        make_engine(changed).replay(history)

    assert "add/" in diverged.value.recorded
    if changed is not ends_early:
        assert "test_replay.py:" in diverged.value.line
    assert result_of(before, Driver(before, history=history).run(make_engine(before))) == [2, 3, 4]


@workflow
async def has_a_bug() -> None:
    await add(1)
    asyncio.ensure_future(add(2))  # noqa: RUF006  it must not get to run
    await asyncio.sleep(0)
    raise KeyError("typo")


def test_a_bug_parks_the_run() -> None:
    """The commands of the turn that raised are dropped, and the traceback is kept."""
    engine = make_engine(has_a_bug)
    engine.feed(started(has_a_bug))

    with pytest.raises(WorkflowBugError) as bug:
        engine.feed(outcome(engine, next(iter(engine.open_tasks)), 2_000_000))

    assert "typo" in bug.value.failure.message
    assert "has_a_bug" in bug.value.failure.traceback


@workflow
async def logs_lines() -> None:
    logging.getLogger(__name__).warning("first")
    await add(1)
    logging.getLogger(__name__).warning("second")
    await add(2)


def test_logs_are_silent_on_replay(caplog: pytest.LogCaptureFixture) -> None:
    """What was logged live is not logged again."""
    silent = ReplayFilter()
    caplog.handler.addFilter(silent)
    history = _history_of(logs_lines, 1)
    live = _said(caplog)
    caplog.clear()

    engine = make_engine(logs_lines)
    engine.replay(history)

    assert live == ["first", "second"]
    assert _said(caplog) == []


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the code of the workflows here has logged."""
    return [record.getMessage() for record in caplog.records if record.name == __name__]


def _refused(engine: RunEngine, flow: Workflow[..., Any]) -> str:
    with pytest.raises(WorkflowBugError) as bug:
        engine.feed(started(flow))
    return bug.value.failure.message


@workflow
async def uses_a_thread() -> None:
    await asyncio.to_thread(print)


def test_what_cannot_be_replayed_names_the_durable_way() -> None:
    """Threads, sockets and subprocesses belong into tasks."""
    assert "do it in a task" in _refused(make_engine(uses_a_thread), uses_a_thread)


_value = signal("value", int)


@workflow
async def continues() -> None:
    await _value.wait()
    continues.continue_as_new()


def _signal(value: int) -> events.SignalReceived:
    return events.SignalReceived(1_000_000 + value, "value", Payload(str(value).encode(), "json"))


def test_signals_recorded_behind_the_end_go_along() -> None:
    """They were drained together, and the code ended at the first: replayed or fed, the next run gets the rest."""
    signals = [_signal(1), _signal(2), _signal(3)]
    (replayed,) = make_engine(continues).replay([started(continues), *signals])
    engine = make_engine(continues)
    engine.feed(started(continues), signals)
    (fed,) = engine.feed(signals[0], signals[1:])

    for end in (replayed, fed):
        assert isinstance(end, events.RunContinued)
        assert [event.value.data for event in end.signals] == [b"2", b"3"]
