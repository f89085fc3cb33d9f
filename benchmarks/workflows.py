"""The workflows that the benchmark runs."""

import asyncio

from aiki_sdk import signal, task, workflow


@task
async def step(number: int) -> int:
    """The smallest durable step: what is measured is all Aiki."""
    return number


@workflow(version="1")
async def sequential(steps: int) -> int:
    """Take *steps* steps, one after the other."""
    total = 0
    for number in range(steps):
        total += await step(number)
    return total


@workflow(version="1")
async def parallel(steps: int) -> int:
    """Take *steps* steps at once."""
    return sum(await asyncio.gather(*(step(number) for number in range(steps))))


go = signal("go", int)


@workflow(version="1")
async def parked() -> int:
    """Wait, for nothing."""
    return await go.wait()
