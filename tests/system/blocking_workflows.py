"""Code that blocks the worker's loop, as user code should not."""

import time
from pathlib import Path

from aiki_sdk import task, untrapped, workflow


@task
async def block(seconds: float, attempts: str) -> str:
    """An async task that forgets to be async."""
    with Path(attempts).open("a", encoding="utf-8") as file:  # noqa: ASYNC230  counts attempts from outside
        file.write("task\n")
    time.sleep(seconds)  # noqa: ASYNC251  blocking the loop is the point
    return "done"


@workflow(version="1")
async def blocks_in_task(seconds: float, attempts: str) -> str:
    """Blocks while a task runs."""
    return await block(seconds, attempts)


@workflow(version="1")
async def blocks_in_workflow(seconds: float, attempts: str) -> str:
    """Blocks in a turn of the workflow itself."""
    with untrapped(), Path(attempts).open("a", encoding="utf-8") as file:  # noqa: ASYNC230  counts turns from outside
        file.write("turn\n")
        time.sleep(seconds)  # noqa: ASYNC251  blocking the loop is the point
    return "done"
