"""Attempts of tasks and their slots."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiki_task import Failure, Task, TaskContext, current_task, task
from aiki_task.payloads import Payload
from aiki_worker.executors import Attempt, Executors, Outcome, Raised, Returned, is_final
from aiki_worker.slots import Slots
from tests.support.waiting import eventually

NO_ARGUMENTS = Payload(b'{"args":[],"kwargs":{}}')
CONTEXT = TaskContext(run_id="r", workflow_id="w", address="a/1/1", attempt=2, deadline_ms=None)


class Declined(Failure):
    """A declared failure."""


@task
async def identify() -> str:
    """Say who asks."""
    return current_task().idempotency_key


@task
def identify_in_thread() -> str:
    """The same, in a thread."""
    return f"{current_task().idempotency_key} {threading.current_thread().name}"


@task(raises=(Declined,))
async def decline() -> None:
    """Fail as declared."""
    raise Declined("no money")


@task
async def mistyped() -> int:
    """Return what was not promised."""
    return "text"  # type: ignore[return-value]


@task
async def wait_for_ever() -> None:
    """Wait."""
    await asyncio.Event().wait()


@task
async def own_timeout() -> None:
    """Run into a timeout of one's own."""
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


class Rig:
    """Executors, and what came of attempts."""

    def __init__(self, slots: int = 2) -> None:
        self.freed = 0
        self.executors = Executors(Slots(slots), slots, self._free)

    def _free(self) -> None:
        self.freed += 1

    def start(
        self, what: Task[..., Any], timeout_s: float | None = None
    ) -> tuple[Attempt, asyncio.Future[Outcome]]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(_: Attempt, value: Outcome) -> None:
            outcome.set_result(value)

        return self.executors.start(what, NO_ARGUMENTS, CONTEXT, timeout_s, done), outcome

    async def run(self, what: Task[..., Any], timeout_s: float | None = None) -> Outcome:
        return await self.start(what, timeout_s)[1]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Two slots."""
    rig = Rig()
    yield rig
    await rig.executors.close()


async def test_task_knows_its_attempt(rig: Rig) -> None:
    """On the loop and in a thread."""
    on_loop = await rig.run(identify)
    in_thread = await rig.run(identify_in_thread)

    assert isinstance(on_loop, Returned)
    assert on_loop.output.data == b'"r/a/1/1"'
    assert isinstance(in_thread, Returned)
    assert in_thread.output.data.startswith(b'"r/a/1/1 aiki-task')


async def test_failure_tells_type_message_and_attempt(rig: Rig) -> None:
    """A declared one is final."""
    outcome = await rig.run(decline)

    assert isinstance(outcome, Raised)
    assert (outcome.failure.type, outcome.failure.message, outcome.failure.attempts) == (
        "Declined",
        "no money",
        2,
    )
    assert is_final(decline, outcome.error)
    assert not is_final(identify, ValueError())


async def test_result_that_does_not_fit_is_final(rig: Rig) -> None:
    """Another attempt would return the same."""
    outcome = await rig.run(mistyped)

    assert isinstance(outcome, Raised)
    assert outcome.failure.kind == "payload"
    assert is_final(mistyped, outcome.error)


async def test_async_attempt_is_stopped_at_its_timeout(rig: Rig) -> None:
    """And its slot is free."""
    outcome = await rig.run(wait_for_ever, timeout_s=0.02)

    assert isinstance(outcome, Raised)
    assert outcome.failure.kind == "timeout"
    assert "longer than 0.02 s" in outcome.failure.message
    assert rig.executors.free == 2


async def test_timeouts_of_attempts_are_their_own(rig: Rig) -> None:
    """An attempt that begins later ends later, though one timer serves both."""
    first, first_outcome = rig.start(wait_for_ever, timeout_s=0.05)
    await asyncio.sleep(0)
    _, second_outcome = rig.start(wait_for_ever, timeout_s=0.05)

    await asyncio.wait([first_outcome, second_outcome], return_when=asyncio.FIRST_COMPLETED)
    assert first_outcome.done()
    assert isinstance(await second_outcome, Raised)
    assert first.is_over


async def test_timeout_raised_by_the_task_is_its_own(rig: Rig) -> None:
    """It is not mistaken for the attempt's."""
    outcome = await rig.run(own_timeout, timeout_s=60)

    assert isinstance(outcome, Raised)
    assert "longer than" not in outcome.failure.message


async def test_sync_attempt_over_its_timeout_keeps_its_slot_until_it_returns(rig: Rig) -> None:
    """A thread cannot be stopped; its result is dropped."""
    go_on = threading.Event()

    @task
    def stubborn() -> None:
        go_on.wait(10)

    _, outcome = rig.start(stubborn, timeout_s=0.02)
    ended = await outcome
    assert isinstance(ended, Raised)
    assert ended.failure.kind == "timeout"
    assert rig.executors.free == 1

    go_on.set()

    async def is_free() -> bool:
        return rig.executors.free == 2

    await eventually(is_free, "the thread gives its slot back")
    assert rig.freed == 1


async def test_a_thread_that_does_not_stop_is_a_leak_until_it_does(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, logged with its stack, and logged again when it is over."""
    monkeypatch.setattr("aiki_worker.executors.executors.LEAK_SECONDS", 0.02)
    leaky = Rig()
    caplog.set_level("INFO")
    go_on = threading.Event()

    @task
    def deaf() -> None:
        go_on.wait(30)

    attempt, _ = leaky.start(deaf)
    obedient, _ = leaky.start(wait_for_ever)
    attempt.cancel()
    obedient.cancel()

    async def has_leaked() -> bool:
        return leaky.executors.leaked == 1

    await eventually(has_leaked, "it is counted")
    assert leaky.executors.free == 1
    assert "task 'deaf' of run r goes on although it was told to stop" in caplog.text
    assert "go_on.wait(30)" in caplog.text
    go_on.set()

    async def is_free() -> bool:
        return leaky.executors.free == 2

    await eventually(is_free, "the slot is free")
    assert leaky.executors.leaked == 0
    assert "task 'deaf' of run r has ended at last" in caplog.text
    await leaky.executors.close()


async def test_cancelled_attempt_tells_nothing_and_frees_its_slot(rig: Rig) -> None:
    """Even one that is cancelled before its first step."""
    for steps in (0, 2):
        attempt, outcome = rig.start(wait_for_ever)
        for _ in range(steps):
            await asyncio.sleep(0)
        attempt.cancel()

        async def is_free() -> bool:
            return rig.executors.free == 2

        await eventually(is_free, "the slot is free")
        assert not outcome.done()
