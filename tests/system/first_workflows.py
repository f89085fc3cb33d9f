"""What the first runs on real processes do."""

import asyncio
import os
import time
from pathlib import Path

from aiki_sdk import Failure, Retry, TaskFailed, current_task, sleep, task, workflow


class Refused(Failure):
    """Somebody said no."""


@task
async def double(number: int) -> int:
    """An async task."""
    return number * 2


@task
def process_id() -> int:
    """A sync task."""
    return os.getpid()


@task(retry=Retry(attempts=3, first="20ms", jitter=0.0))
async def flaky() -> int:
    """Succeeds at the third attempt; returns its number."""
    attempt = current_task().attempt
    if attempt < 3:
        raise ConnectionError(attempt)
    return attempt


@task(retry=Retry(attempts=3, first="20ms", jitter=0.0, non_retryable=(ConnectionError,)))
async def hopeless() -> None:
    """Fails for good at once."""
    raise ConnectionResetError("gone")


@task(timeout="50ms", retry=Retry.none())
async def endless() -> None:
    """Longer than it may."""
    await asyncio.Event().wait()


@task(remote=True, timeout="50ms", retry=Retry(attempts=2, first="10ms"))
async def endless_elsewhere() -> None:
    """The same, by way of the queue."""
    await asyncio.Event().wait()


@task(raises=(Refused,))
async def refuse() -> None:
    """Fail as declared."""
    raise Refused("no")


@task
def slow(log: str, number: int) -> int:
    """Takes a while, and leaves a line."""
    time.sleep(0.05)
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(f"{number}\n")
    return number


@workflow
async def steps(number: int) -> int:
    """One after the other."""
    for _ in range(number):
        number = await double(number)
    return number


@workflow
async def fan_out(count: int) -> int:
    """All at once."""
    return sum(await asyncio.gather(*(double(number) for number in range(count))))


@workflow
async def nap() -> str:
    """Sleep durably, twice at once."""
    await asyncio.gather(sleep("300ms"), sleep("200ms"))
    return "rested"


@workflow
async def attempts() -> int:
    """A task that needs three."""
    return await flaky()


@workflow
async def in_thread() -> int:
    """Which process ran the sync task."""
    return await process_id()


@workflow
async def gives_up() -> list[str]:
    """Every way a task fails."""
    said: list[str] = []
    for call in (hopeless, endless, endless_elsewhere):
        try:
            await call()
        except TaskFailed as failed:
            said.append(f"{failed.type_name} {failed.attempts} {isinstance(failed, TimeoutError)}")
    try:
        await refuse()
    except Refused as refused:
        said.append(f"Refused {refused}")
    return said


@workflow
async def deadline() -> str:
    """Plain asyncio, durable."""
    try:
        async with asyncio.timeout(0.2):
            await endless.with_(timeout="1h")()
    except TimeoutError:
        return "too late"
    return "in time"


@workflow
async def many(log: str, count: int) -> int:
    """Slow steps, one after the other."""
    total = 0
    for number in range(count):
        total += await slow(log, number)
    return total
