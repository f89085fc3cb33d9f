"""Workflows and tasks that the worker's tests serve."""

import asyncio
import contextlib
import threading

from aiki_task import Retry, current_task, task
from aiki_workflow import sleep, workflow

release_sync = threading.Event()
blocked = threading.Event()
go_on = threading.Event()


@task
async def double(number: int) -> int:
    """An async task."""
    return number * 2


@task
def triple(number: int) -> int:
    """A sync task."""
    return number * 3


@task(retry=Retry(attempts=2, first="10ms", jitter=0.0))
async def flaky(number: int) -> int:
    """Fails at the first attempt."""
    if current_task().attempt == 1:
        raise ValueError("not yet")
    return number


@task
async def forever() -> None:
    """Ends when it is cancelled."""
    await asyncio.Event().wait()


@task
async def blocks() -> None:
    """Blocks the loop of its worker, as code should not."""
    blocked.set()
    go_on.wait(10)


@task(remote=True)
async def far(number: int) -> int:
    """Goes to a queue."""
    return number


@task(timeout="50ms", retry=Retry.none())
async def endless() -> None:
    """Longer than it may."""
    await asyncio.Event().wait()


@task(timeout="50ms", retry=Retry.none())
def endless_sync() -> None:
    """Longer than it may, in a thread."""
    release_sync.wait(10)


@workflow
async def chain(number: int) -> int:
    """Two steps, one after the other."""
    return await double(await double(number))


@workflow
async def one_sync(number: int) -> int:
    """A step in a thread."""
    return await triple(number)


@workflow
async def retried(number: int) -> int:
    """A step that needs two attempts."""
    return await flaky(number)


@workflow
async def waits() -> str:
    """A step that does not end."""
    await forever()
    return "done"


@workflow
async def remote(number: int) -> int:
    """A step elsewhere."""
    return await far(number)


@workflow
async def sleeps() -> str:
    """Nothing but waiting."""
    await sleep("1h")
    return "rested"


@workflow
async def buggy(number: int) -> int:
    """Has a bug after its first step."""
    await double(number)
    return number.no_such_method()  # type: ignore[attr-defined,no-any-return]


@workflow
async def impatient() -> str:
    """Gives up waiting for a task."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3600):
            await forever()
    return "gave up"


@workflow
async def fan_out(count: int) -> int:
    """Steps at once."""
    return sum(await asyncio.gather(*(double(number) for number in range(count))))
