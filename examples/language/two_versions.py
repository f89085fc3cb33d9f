"""Two versions of a workflow, served together: each run keeps its own."""

from aiki_client import Client
from aiki_sdk import signal, workflow

proceed = signal("proceed", str)
EXPECTED = ["one: go", "two: go"]


@workflow(name="price", version="1")
async def price_1() -> str:
    """As it was."""
    return f"one: {await proceed.wait()}"


@workflow(name="price", version="2")
async def price_2() -> str:
    """As it is now."""
    return f"two: {await proceed.wait()}"


async def scenario(client: Client) -> list[str]:
    """One run of each, at the same time."""
    runs = [await client.start(price_1.with_(id="old")), await client.start(price_2.with_(id="new"))]
    for run in runs:
        await run.signal(proceed, "go")
    return [await run.result("50s") for run in runs]
