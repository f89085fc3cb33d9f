"""Workflows and tasks of tests/system/test_context.py: what a task knows and tells of its attempt."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from aiki_task import AttemptCancelled, Retry, RetryAfter, complete_later, current_task, heartbeat, task
from aiki_workflow import TaskCancelledError, sleep, workflow

QUICK = Retry.fixed("10ms", attempts=3)


@task(retry=QUICK)
async def goes_on(items: int) -> list[int]:
    """Fails once, halfway; what it did before is not done again."""
    context = current_task()
    done = context.checkpoint(list[int]) or []
    if context.attempt == 1:
        heartbeat([1, 2, 3])
        raise RuntimeError("halfway")
    return [*done, *range(len(done) + 1, items + 1)]


@task(retry=Retry.none(), heartbeat_timeout="300ms")
async def goes_silent() -> str:
    """Sends one heartbeat, then none."""
    heartbeat()
    await asyncio.sleep(60)
    return "never"


@task(heartbeat_timeout="1s")
async def beats() -> str:
    """Takes longer than its heartbeat timeout, but beats."""
    for _ in range(15):
        heartbeat()
        await asyncio.sleep(0.1)
    return "beat on"


@task(retry=Retry.fixed("1h", attempts=3))
async def asks_for_a_moment() -> int:
    """Names the delay itself."""
    if current_task().attempt < 3:
        raise RetryAfter(timedelta(milliseconds=20))
    return current_task().attempt


@task
def loops(file: str) -> str:
    """Runs on a thread until it is told to stop."""
    try:
        while True:
            heartbeat()
            time.sleep(0.02)
    except AttemptCancelled:
        Path(file).write_text("cleaned up")
        raise


@task(deferred=True, retry=Retry.none())
def approval(file: str) -> str:
    """Somebody says later how it ended."""
    Path(file).write_text(current_task().token)
    complete_later()


@task(deferred=True, timeout="300ms", retry=QUICK)
def forgotten(file: str) -> str:
    """Nobody completes the first attempt."""
    with Path(file).open("a") as lines:
        lines.write(f"{current_task().attempt}\n")
    if current_task().attempt == 2:
        return "done at once"
    return complete_later()


@task(retry=Retry.none())
async def cannot_be_deferred() -> str:
    """Its author forgot to say so."""
    complete_later()


@task(queue="nobody", queue_timeout="200ms")
async def unserved() -> str:
    """Waits in a queue that nobody serves."""
    return "never"


@workflow
async def run_goes_on(remote: bool) -> list[int]:
    """Beside its run, or at another worker."""
    return await goes_on.with_(remote=remote)(5)


@workflow
async def run_goes_silent(remote: bool) -> str:
    """The heartbeat timeout ends it."""
    return await goes_silent.with_(remote=remote)()


@workflow
async def run_beats(remote: bool) -> str:
    """It takes its time."""
    return await beats.with_(remote=remote)()


@workflow
async def run_asks(remote: bool) -> int:
    """The policy's delay would be an hour."""
    return await asks_for_a_moment.with_(remote=remote)()


@workflow
async def run_loops(remote: bool, file: str) -> str:
    """Cancelled by a timeout scope."""
    try:
        async with asyncio.timeout(0.5):
            return await loops.with_(remote=remote)(file)
    except TimeoutError:
        return "timed out"


@workflow
async def run_approval(file: str) -> str:
    """Waits for somebody."""
    try:
        return await approval(file)
    except TaskCancelledError:
        return "cancelled"


@workflow
async def run_forgotten(file: str) -> str:
    """The attempt's timeout ends the wait."""
    return await forgotten(file)


@workflow
async def run_cannot_be_deferred() -> str:
    """The message says what to write."""
    return await cannot_be_deferred()


@workflow
async def run_unserved() -> str:
    """Gives up waiting."""
    waiting = asyncio.ensure_future(unserved())
    await sleep("10ms")
    return await waiting
