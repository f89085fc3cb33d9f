"""What the chaos rounds run: local tasks, remote tasks, a timer, and tasks again."""

import asyncio

from aiki_sdk import sleep, task, workflow

FAN_OUT = 12


@task
async def near(number: int) -> int:
    """Runs on the worker that holds the run, if it has a slot."""
    await asyncio.sleep(0.01 * (number % 4))
    return number


@task(remote=True)
def far(number: int) -> int:
    """Goes through the queue, and runs in a thread."""
    return number * 10


@workflow(version="1")
async def storm(offset: int) -> int:
    """Fan out, sleep, fan out again."""
    numbers = range(offset, offset + FAN_OUT)
    first = await asyncio.gather(*(near(number) for number in numbers), *(far(number) for number in numbers))
    await sleep("50ms")
    total = sum(first)
    for number in numbers:
        total += await near(-number)
    return total


def expected(offset: int) -> int:
    """What `storm` returns when nothing goes wrong."""
    numbers = range(offset, offset + FAN_OUT)
    return sum(numbers) + sum(number * 10 for number in numbers) - sum(numbers)
