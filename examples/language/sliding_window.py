"""Many records, a few at a time, in pages of child runs."""

import aiki_sdk
from aiki_client import Client
from aiki_sdk import task, workflow

EXPECTED = 1199


@task
async def process_record(number: int) -> int:
    """One record."""
    return number + 1


@workflow
async def sliding_window(records: int) -> int:
    """At most 100 are under way."""
    done = await aiki_sdk.map(process_record, list(range(records)), limit=100)
    return max(done) - 1


async def scenario(client: Client) -> int:
    """Three pages."""
    return await (await client.start(sliding_window, 1200)).result("40s")
