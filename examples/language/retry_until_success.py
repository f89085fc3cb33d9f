"""A task that fails until the world is ready, without a limit to its attempts."""

from aiki_client import Client
from aiki_sdk import Retry, current_task, task, workflow

EXPECTED = "ready after 5 attempts"


@task(retry=Retry(attempts=None, first="5ms", max="20ms"))
async def fetch_report() -> str:
    """The report is there at the fifth attempt."""
    attempt = current_task().attempt
    if attempt < 5:
        raise ConnectionError("not yet")
    return f"ready after {attempt} attempts"


@workflow
async def retries_until_success() -> str:
    """Nothing to do: the task's policy does it."""
    return await fetch_report()


async def scenario(client: Client) -> str:
    """It takes as long as it takes."""
    return await (await client.start(retries_until_success)).result("50s")
