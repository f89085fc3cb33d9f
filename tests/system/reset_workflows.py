"""Workflows of tests/system/test_reset.py."""

import asyncio

from aiki_task import Retry, task
from aiki_workflow import publish, random, signal, sleep, workflow

number = signal("number", int)
tell = signal("tell", str)


@task
async def double(value: int) -> int:
    """Twice the value."""
    return 2 * value


@task(queue="nobody", retry=Retry.none())
async def unserved() -> int:
    """A task that waits in a queue."""
    return 0


@workflow
async def adds_up(count: int) -> int:
    """Adds twice what comes in."""
    total = 0
    for _ in range(count):
        total += await double(await number.wait())
        publish("total", total)
    return total


@workflow
async def told() -> str:
    """Ends with what it is told."""
    return await tell.wait()


@workflow
async def has_child(child_id: str) -> str:
    """Waits for its child, then for a signal."""
    child = await told.with_(id=child_id).start()
    first = await child.result()
    return f"{first} {await tell.wait()}"


@workflow
async def has_nameless_child() -> int:
    """Has a child whose id is generated, after a signal."""
    value = await number.wait()
    return await adds_one(value)


@workflow
async def adds_one(value: int) -> int:
    """Waits for a number and adds it."""
    return value + await number.wait()


@workflow
async def sleeps_and_queues(duration: str) -> str:
    """Has a timer and a queued task under way."""
    waiting = asyncio.ensure_future(unserved())
    await sleep(duration)
    waiting.cancel()
    return f"{random().random():.6f}"
