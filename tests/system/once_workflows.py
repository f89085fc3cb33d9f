"""Tasks that write down that they run, into the file that AIKI_TEST_DIARY names."""

import asyncio
import os
from pathlib import Path

from aiki_sdk import task, workflow
from aiki_sdk.errors import OutcomeUnknown


def write(line: str) -> None:
    """Whole lines, whoever else writes."""
    with Path(os.environ["AIKI_TEST_DIARY"]).open("a", encoding="utf-8") as diary:
        diary.write(line + "\n")


@task(at_most_once=True)
async def pay(number: int) -> int:
    """Never twice."""
    write(f"pay {number}")
    await asyncio.sleep(0.2)
    return number


@task(remote=True)
async def nap(number: int, seconds: float) -> int:
    """Again if its worker dies, never otherwise."""
    write(f"nap {number}")
    await asyncio.sleep(seconds)
    return number


@workflow
async def payments(count: int) -> list[str]:
    """How each ended."""

    async def one(number: int) -> str:
        try:
            return str(await pay(number))
        except OutcomeUnknown:
            return "unknown"

    return list(await asyncio.gather(*(one(number) for number in range(count))))


@workflow
async def naps(count: int) -> int:
    """Of unequal length."""
    return len(await asyncio.gather(*(nap(number, number % 7 / 50) for number in range(count))))
