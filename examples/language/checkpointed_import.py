"""A long task that goes on where the attempt before it had come to."""

from aiki_client import Client
from aiki_sdk import Retry, current_task, heartbeat, task, workflow

EXPECTED = "attempt 3 began at row 8"


@task(retry=Retry.fixed("5ms", attempts=5), heartbeat_timeout="10s")
async def import_file(rows: int) -> str:
    """Fails twice on its way."""
    context = current_task()
    first = context.checkpoint(int) or 0
    for row in range(first, rows):
        if row in {4, 8} and row != first:
            raise ConnectionError(f"lost at row {row}")
        heartbeat(row + 1)
    return f"attempt {context.attempt} began at row {first}"


@workflow
async def checkpointed_import() -> str:
    """One task."""
    return await import_file(12)


async def scenario(client: Client) -> str:
    """No row is imported twice."""
    return await (await client.start(checkpointed_import)).result("50s")
