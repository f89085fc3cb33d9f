"""Three ways to wait for something that cannot call back."""

import asyncio

from aiki_client import Client
from aiki_sdk import Retry, RetryAfter, current_task, heartbeat, sleep, task, workflow

EXPECTED = ["often: 3", "as told: 3", "rarely: 3"]


@task(heartbeat_timeout="10s")
async def poll_often() -> str:
    """Often: a loop inside one attempt, which beats."""
    for looked in (1, 2, 3):
        heartbeat(looked)
        await asyncio.sleep(0.01)
    return "often: 3"


@task(retry=Retry(attempts=10))
async def poll_as_told() -> str:
    """As the other side says: each attempt names the next delay."""
    if current_task().attempt < 3:
        raise RetryAfter("10ms")
    return f"as told: {current_task().attempt}"


@task
async def look_once(number: int) -> bool:
    """Rarely: the workflow sleeps between tasks."""
    return number == 3


@workflow
async def polls() -> list[str]:
    """All of them together."""

    async def rarely() -> str:
        looked = 1
        while not await look_once(looked):
            await sleep("10ms")
            looked += 1
        return f"rarely: {looked}"

    return list(await asyncio.gather(poll_often(), poll_as_told(), rarely()))


async def scenario(client: Client) -> list[str]:
    """What each found."""
    return await (await client.start(polls)).result("50s")
