"""Attempts in child processes."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiki_task import ProcessDied, RetryAfter, Task, TaskContext
from aiki_task.context import entered
from aiki_task.failures import to_exception
from aiki_task.payloads import Payload
from aiki_task.pulse import Pulse
from aiki_worker.executors import Attempt, ChildSettings, Deferred, Executors, Outcome, Raised, Returned
from aiki_worker.executors.frames import Broke, Splitter, pack
from aiki_worker.executors.told_errors import error_of, types_of
from aiki_worker.slots import Slots
from tests.support.waiting import eventually
from tests.unit.worker import process_tasks as tasks

MODULE = "tests.unit.worker.process_tasks"


class Rig:
    """Executors with two processes, and what came of attempts."""

    def __init__(
        self, *, attempts_max: int = 100, grace_s: float = 0.3, modules: tuple[str, ...] = (MODULE,)
    ) -> None:
        children = ChildSettings(modules=modules, processes=2, attempts_max=attempts_max, grace_s=grace_s)
        self.executors = Executors(Slots(10), 10, lambda: None, children=children)
        self.beats: list[Payload] = []

    def start(
        self,
        what: Task[..., Any],
        *args: object,
        timeout_s: float | None = None,
        heartbeat_s: float | None = None,
    ) -> tuple[Attempt, asyncio.Future[Outcome]]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        context = TaskContext(
            run_id="r",
            workflow_id="w",
            address="a/1/1",
            attempt=2,
            deadline_ms=2**50,
            completion_token="token",
            pulse=Pulse(Payload(b"41")),
        )
        self.executors.follow(what, context.pulse, self.beats.append, 1.0)

        def done(_: Attempt, value: Outcome) -> None:
            outcome.set_result(value)

        payload = what.arguments.encode(args, {})
        return self.executors.start(what, payload, context, timeout_s, done, heartbeat_s), outcome

    async def run(self, what: Task[..., Any], *args: object, **limits: float) -> Outcome:
        return await self.start(what, *args, **limits)[1]

    async def value(self, what: Task[..., Any], *args: object) -> Any:
        outcome = await self.run(what, *args)
        assert isinstance(outcome, Returned), outcome
        return what.result.decode(outcome.output)

    async def died(self, what: Task[..., Any], *args: object) -> ProcessDied:
        outcome = await self.run(what, *args)
        assert isinstance(outcome, Raised)
        assert isinstance(outcome.error, ProcessDied)
        return outcome.error

    async def all_slots_free(self) -> bool:
        return self.executors.free == 10


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Two processes at most; none is left."""
    rig = Rig()
    yield rig
    await rig.executors.close()
    assert _children() == []


def _children() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "aiki_worker.executors.child" in child.cmdline()
    ]


async def _made(path: Path) -> None:
    async def exists() -> bool:
        return path.exists()  # noqa: ASYNC240  made by a child

    await eventually(exists, f"{path} is there")


async def test_context_arguments_and_resources_are_there(rig: Rig) -> None:
    """The child is kept for the next attempt; its lifespan is its own."""
    first = await rig.value(tasks.where, ["a", "b"], b"raw")
    second = await rig.value(tasks.where, ["c"])

    assert first["pid"] == second["pid"] != str(os.getpid())
    assert (first["words"], first["data"], first["key"], first["attempt"]) == ("a b", "raw", "r/a/1/1", "2")
    assert int(first["deadline"]) >= 2**50
    assert first["printer"] == f"printer of {first['pid']}"
    assert await rig.value(tasks.where_async) == first["printer"]
    assert await rig.value(tasks.read_bytes) == b"\x00\xff"


async def test_failures_come_as_themselves(rig: Rig) -> None:
    """Type, attributes and traceback; what asks for a delay keeps it; what is put off is no failure."""
    declared = await rig.run(tasks.fail)
    later = await rig.run(tasks.fail_later)

    assert isinstance(declared, Raised)
    assert isinstance(declared.error, tasks.OutOfPaperError)
    assert (declared.error.tray, str(declared.error)) == (3, "tray 3 is empty")
    assert "in fail" in declared.failure.traceback
    assert declared.failure.attempts == 2
    assert isinstance(later, Raised)
    assert isinstance(later.error, RetryAfter)
    assert later.error.delay.total_seconds() == 7
    assert isinstance(await rig.run(tasks.put_off), Deferred)


async def test_death_of_a_child_fails_one_attempt(rig: Rig, tmp_path: Path) -> None:
    """Each kind is told apart, and the other child goes on."""
    flag = tmp_path / "flag"
    _, other = rig.start(tasks.wait_for, str(flag))
    await _made(tmp_path / "flag.waits")

    segfault = await rig.died(tasks.crash)
    killed = await rig.died(tasks.kill_oneself)
    left = await rig.died(tasks.exit_at_once, 42)
    assert (segfault.signal_name, segfault.exit_code) == ("SIGSEGV", None)
    assert (killed.signal_name, killed.exit_code) == ("SIGKILL", None)
    assert "if memory was short" in str(killed)
    assert (left.signal_name, left.exit_code) == ("", 42)
    assert "ended with status 42" in str(left)
    assert not other.done()

    flag.touch()
    assert isinstance(await other, Returned)


async def test_one_process_runs_one_attempt(rig: Rig, tmp_path: Path) -> None:
    """What does not fit has no room here, though slots are free."""
    flag = tmp_path / "flag"
    running = [rig.start(tasks.wait_for, str(flag))[1] for _ in range(2)]
    assert not rig.executors.has_room(tasks.where)
    assert rig.executors.free == 8

    flag.touch()
    await asyncio.gather(*running)
    assert rig.executors.has_room(tasks.where)


async def test_checkpoints_cross_and_a_cancelled_attempt_cleans_up(rig: Rig, tmp_path: Path) -> None:
    """`heartbeat` raises in the child; the child is used again."""
    attempt, outcome = rig.start(tasks.obey, str(tmp_path / "obeyed"))

    async def has_beaten() -> bool:
        return bool(rig.beats)

    await eventually(has_beaten, "a checkpoint has come")
    assert int(rig.beats[0].data) > 41
    (child,) = _children()
    attempt.cancel()
    await eventually(rig.all_slots_free, "the slot is free")
    assert (tmp_path / "obeyed").read_text() == "cleaned up"
    assert not outcome.done()
    assert (await rig.value(tasks.where, []))["pid"] == str(child.pid)


async def test_an_async_attempt_is_cancelled_at_its_timeout(rig: Rig, tmp_path: Path) -> None:
    """And says that it was its timeout."""
    outcome = await rig.run(tasks.obey_async, str(tmp_path / "obeyed"), timeout_s=0.5)

    assert isinstance(outcome, Raised)
    assert "took longer than 0.5 s" in outcome.failure.message
    assert (tmp_path / "obeyed").read_text() == "cleaned up"
    assert await rig.all_slots_free()


@pytest.mark.parametrize(
    ("what", "left"), [(tasks.listen_to_nobody, "terminated"), (tasks.hold_on, "TerminatedError")]
)
async def test_force_ends_what_does_not_listen(
    rig: Rig, what: Task[..., Any], left: str, tmp_path: Path
) -> None:
    """SIGTERM runs `finally` blocks; SIGKILL asks nobody. The attempt is over when its process is."""
    outcome = await rig.run(what, str(tmp_path / "left"), timeout_s=0.5)

    assert isinstance(outcome, Raised)
    assert outcome.failure.kind == "timeout"
    assert (tmp_path / "left").read_text() == left
    assert await rig.all_slots_free()
    assert _children() == []


async def test_silence_is_a_timeout(rig: Rig, tmp_path: Path) -> None:
    """No heartbeat for too long."""
    outcome = await rig.run(tasks.listen_to_nobody, str(tmp_path / "left"), heartbeat_s=0.3)

    assert isinstance(outcome, Raised)
    assert "no heartbeat for 0.3 s" in outcome.failure.message


async def test_what_children_log_is_logged_here(
    rig: Rig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With level, name, extras and traceback, as if the attempt ran here; what they print goes to stderr."""
    seen: list[str] = []

    def see(_: logging.LogRecord) -> bool:
        context = entered()
        seen.append("" if context is None else context.address)
        return True

    caplog.handler.addFilter(see)
    with caplog.at_level(logging.INFO):
        await rig.value(tasks.talk)
    assert seen == ["a/1/1", "a/1/1"]

    warned, broke = [record for record in caplog.records if record.name == MODULE]
    assert (warned.getMessage(), warned.levelname, vars(warned)["tray"]) == ("from a child", "WARNING", 7)
    assert warned.process != os.getpid()
    assert "ValueError: jam" in broke.getMessage()
    await rig.executors.close()
    out, err = capfd.readouterr()
    assert (out, "printed by a child" in err) == ("", True)


async def test_a_child_is_replaced_after_so_many_attempts() -> None:
    """What it leaks is bounded."""
    rig = Rig(attempts_max=2)
    try:
        pids = [(await rig.value(tasks.where, []))["pid"] for _ in range(5)]
        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    finally:
        await rig.executors.close()
    assert _children() == []


async def test_a_module_that_cannot_be_imported_there_is_told() -> None:
    """By name, as the attempt's failure."""
    rig = Rig(modules=("no_such_module",))
    try:
        died = await rig.died(tasks.where, [])
        assert "module 'no_such_module' cannot be imported" in str(died)
    finally:
        await rig.executors.close()


async def test_closing_leaves_no_child(tmp_path: Path) -> None:
    """Busy ones are ended as well."""
    rig = Rig()
    rig.start(tasks.hold_on, str(tmp_path / "held"))
    await _made(tmp_path / "held.waits")
    await rig.value(tasks.where, [])
    assert len(_children()) == 2

    await rig.executors.close()
    assert _children() == []


def test_frames_survive_any_cut() -> None:
    """A pipe may deliver a byte at a time; causes and payloads are as they were."""
    error = tasks.OutOfPaperError(3)
    error.__cause__ = OSError(5, "jam")
    from aiki_task.failures import from_exception

    frame = Broke(
        number=7, failure=from_exception(error), types=types_of(error), retry_after_s=None, duration_ms=3
    )
    splitter = Splitter()
    found = [whole for byte in pack(frame) + pack(frame) for whole in splitter.take(bytes([byte]))]

    assert found == [frame, frame]


def test_an_unknown_type_is_its_nearest_known_base() -> None:
    """As for retry policies that name a base."""

    class JamError(tasks.OutOfPaperError):
        """Not to be found by name."""

    from aiki_task.failures import from_exception

    error = JamError(9)
    told = error_of(from_exception(error), types_of(error), None)

    assert type(told) is tasks.OutOfPaperError
    assert told.tray == 9


def test_a_declared_death_keeps_its_attributes() -> None:
    """What a workflow gets for `raises=(ProcessDied,)`."""
    from aiki_task.failures import from_exception

    died = ProcessDied("render", "was ended by SIGSEGV", signal_name="SIGSEGV")
    rebuilt = to_exception(from_exception(died), "render", [ProcessDied])

    assert isinstance(rebuilt, ProcessDied)
    assert (rebuilt.signal_name, rebuilt.exit_code) == ("SIGSEGV", None)
