"""What is recorded, and when a cache is what it seems (H13, H14): schedules of the product's pure code."""

import asyncio
from collections.abc import Sequence

import pytest

from aiki_server.core.runs import CacheMark
from aiki_task import task
from aiki_task.failures import FailureInfo
from aiki_worker.cache import Mark, RunCache
from aiki_workflow import events, sleep, workflow
from aiki_workflow.errors import DivergedError
from tests.unit.workflow.driver import Driver, make_engine, outcome, started

FAILURE = FailureInfo(kind="error", type="ValueError", message="too late")


@task
def read(number: int) -> int:
    """A step."""
    return number


@workflow
async def hurried() -> int:
    """A timer that is cancelled in the turn that started it, one in another turn, a step dropped, a sleep."""
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        first = await read(1)
    dropped = asyncio.ensure_future(read(2))
    await asyncio.sleep(0)
    dropped.cancel()
    await sleep("1h")
    return first + await read(3)


def replay(history: Sequence[events.Event]) -> list[events.Command]:
    """The commands that the code issues and *history* does not hold."""
    engine = make_engine(hurried)
    try:
        return engine.replay(history)
    finally:
        engine.close()


def recorded() -> list[events.Event]:
    """The history of a run that was never interrupted."""
    driver = Driver(hurried)
    driver.run(make_engine(hurried))
    return driver.history


def rest_of_turn(history: Sequence[events.Event], at: int) -> list[events.Event]:
    """What is recorded from *at* up to the next input."""
    inputs = (index for index in range(at, len(history)) if isinstance(history[index], events.INPUTS))
    return list(history[at : next(inputs, len(history))])


def test_h13_what_is_recorded_does_not_depend_on_how_commits_were_cut() -> None:
    """Real code: the history cut anywhere, also within a turn, then replayed: what is missing is issued."""
    history = recorded()
    for at in range(1, len(history) + 1):
        assert replay(history[:at]) == rest_of_turn(history, at)


def test_h13_a_timer_that_was_left_out_of_the_history_contradicts_replay() -> None:
    """Real code: without the pair that one turn started and cancelled, replay wants something new."""
    history = recorded()
    elided = [event for event in history if getattr(event, "address", "") != "sleep/60000ms/1"]
    assert len(elided) == len(history) - 2

    for at in range(1, len(elided) + 1):
        try:
            commands = replay(elided[:at])
        except DivergedError:
            return
        if commands != rest_of_turn(elided, at):
            return
    pytest.fail("nobody noticed")


def test_h13_an_input_for_what_was_cancelled_is_recorded_and_does_nothing() -> None:
    """Real code: a timer that fired and a task that ended while their cancellations were under way."""
    engine = make_engine(hurried)
    first = started(hurried)
    history: list[events.Event] = [first, *engine.feed(first)]
    done = outcome(engine, next(iter(engine.open_tasks)), first.at + 1)
    cancelled = engine.feed(done)
    history += [done, *cancelled]
    late: list[events.Input] = []
    for command in cancelled:
        if isinstance(command, events.TimerCancelled):
            late.append(events.TimerFired(first.at + 2, command.address))
        elif isinstance(command, events.TaskCancelled):
            late.append(events.TaskFailed(first.at + 2, command.address, FAILURE, "w"))

    assert len(late) == 2
    for event in late:
        assert engine.feed(event) == []
    engine.close()
    assert replay([*history, *late]) == []


class Kept:
    """A run in a cache: what its code has seen."""

    def __init__(self, seen: str) -> None:
        self.seen = seen
        self.closed = False

    def close(self) -> None:
        """Its memory is given back."""
        self.closed = True


def test_h14_a_cache_that_is_as_long_as_the_history_may_differ_from_it() -> None:
    """Real code, and the one line of grant.lua that compares marks: a release that a failover undid.

    The worker keeps the run as released under nonce A. That is rolled back; another worker releases it
    under nonce B, the same epoch and length. By length alone the first worker would be sent the tail only.
    """
    kept, told = Kept("sa"), CacheMark(1, "A", 2)
    history, released = "sb", CacheMark(1, "B", 2)

    assert told.length == released.length
    assert kept.seen != history, "the tail would go to a run that saw something else"
    first_index = released.length if told == released else 0
    cache: RunCache[Kept] = RunCache(10)
    cache.put("run", Mark(1, "A", 2), kept)

    assert cache.take("run", epoch=2, first_index=first_index) is None
    assert kept.closed


@pytest.mark.parametrize(
    ("epoch", "first_index"),
    [(3, 2), (1, 2), (2, 1), (2, 3), (2, 0)],
    ids=["a lease came between", "a lease given twice", "longer", "shorter", "everything is sent"],
)
def test_h14_a_cache_that_does_not_fit_the_grant_is_dropped(epoch: int, first_index: int) -> None:
    """Real code: it stands at length 2, released under epoch 1."""
    cache: RunCache[Kept] = RunCache(10)
    kept = Kept("sa")
    cache.put("run", Mark(1, "A", 2), kept)

    assert cache.take("run", epoch=epoch, first_index=first_index) is None
    assert kept.closed
    assert len(cache) == 0


def test_h14_a_cache_that_fits_the_grant_is_used_once() -> None:
    """Real code: the next lease, and the length of the release."""
    cache: RunCache[Kept] = RunCache(10)
    kept = Kept("sa")
    cache.put("run", Mark(1, "A", 2), kept)

    assert cache.take("run", epoch=2, first_index=2) is kept
    assert cache.take("run", epoch=2, first_index=2) is None
