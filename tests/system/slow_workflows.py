"""A workflow that is still going on when it is interrupted."""

import asyncio

from aiki_sdk import task, workflow


@task
async def dawdle() -> None:
    """Take a minute."""
    await asyncio.sleep(60)


@workflow(version="1")
async def slow() -> None:
    """Wait for a slow task."""
    await dawdle()
