"""Workflows whose tasks go to queues; which worker ran them is in the run's history."""

import asyncio
from pathlib import Path

from aiki_sdk import task, workflow


@task(remote=True, queue="work")
def note(log: str, what: str, number: int) -> int:
    """Append a line."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")
    return number


@task(labels={"gpu": "a100"})
async def render() -> None:
    """Only where there is one."""


@task(remote=True, prefers={"zone": "eu"})
async def near() -> None:
    """Better there."""


@task(remote=True, slots=3)
async def wide() -> None:
    """Takes three slots."""


@workflow
async def noting(log: str, times: int) -> int:
    """Notes at its run's priority, all at once."""
    from aiki_sdk import run_info

    name = run_info().workflow_id
    return len(await asyncio.gather(*(note(log, name, number) for number in range(times))))


@workflow
async def rendering() -> None:
    """Renders."""
    await render()


@workflow(labels={"gpu": "a100"}, name="training")
async def training() -> None:
    """Runs only where there is one."""


@workflow
async def going_near() -> None:
    """Goes near."""
    await near()


@workflow
async def going_wide() -> None:
    """Goes wide."""
    await wide()
