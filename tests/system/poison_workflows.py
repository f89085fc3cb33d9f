"""A task that kills its worker, and others beside it that do not."""

import asyncio
import os
import signal
from pathlib import Path

from aiki_sdk import TaskFailed, task, workflow


@task
def bomb(log: str) -> int:
    """Never ends, and neither does anything else on its worker."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write("bomb\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@task
async def innocent(number: int) -> int:
    """Takes long enough to be there when the bomb goes off."""
    await asyncio.sleep(0.1)
    return number


async def _type_of(failing: asyncio.Future[int]) -> str:
    try:
        return str(await failing)
    except TaskFailed as error:
        return error.type_name


@workflow
async def minefield(log: str) -> list[str]:
    """A bomb among innocents; the names of what failed."""
    calls = [bomb(log), innocent(1), innocent(2)]
    return list(await asyncio.gather(*(_type_of(asyncio.ensure_future(call)) for call in calls)))


@workflow
async def bystander(steps: int) -> int:
    """Another run that the same workers hold."""
    total = 0
    for number in range(steps):
        total += await innocent(number)
    return total
