"""Tasks in child processes, and a resource that leaves traces."""

import ctypes
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiki_sdk import Retry, current_task, lifespan, task, workflow
from aiki_sdk.errors import ProcessDied

FOLDER = Path(os.environ.get("TRACES", "/nonexistent"))


@lifespan
async def traces() -> AsyncIterator[Path]:
    """A folder; who has opened and closed it is written there."""
    if not FOLDER.is_dir():  # noqa: ASYNC240  once, at the start
        raise FileNotFoundError(f"{FOLDER} is no folder")
    (FOLDER / f"opened.{os.getpid()}").touch()
    yield FOLDER
    (FOLDER / f"closed.{os.getpid()}").touch()


@task
async def resource_on_loop() -> str:
    """What an async task gets."""
    return str(traces.get())


@task
def resource_in_thread() -> str:
    """What a sync task gets."""
    return str(traces.get())


@task(executor="process", retry=Retry.fixed("10ms", attempts=3))
def crash_once(number: int) -> str:
    """Crash at the first attempt, as code in C does."""
    if current_task().attempt == 1:
        ctypes.string_at(0)
    return f"{number} in {traces.get().name}, attempt {current_task().attempt}"


@task(executor="process", retry=Retry(1), raises=(ProcessDied,))
def crash() -> None:
    """Crash for good."""
    ctypes.string_at(0)


@task(executor="process")
def compute(seconds: float) -> int:
    """Use the processor without a word."""
    (traces.get() / f"computes.{os.getpid()}").touch()
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        sum(range(10_000))
    return os.getpid()


@workflow(version="1")
async def crashing() -> list[str]:
    """Crash, in two ways, and go on."""
    told = [await resource_on_loop(), await resource_in_thread(), await crash_once(1), await crash_once(2)]
    try:
        await crash()
    except ProcessDied as died:
        told.append(died.signal_name)
    return told


@workflow(version="1")
async def computing(seconds: float) -> int:
    """Compute for a while."""
    return await compute(seconds)
