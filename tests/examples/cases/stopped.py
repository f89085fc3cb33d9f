"""Children that are stopped by their parent's cancellation, a timeout scope and a failure beside them, with clean-up."""

import asyncio
import contextlib

from aiki_client import Client, RunCancelledError
from aiki_sdk import Failure, sleep, task, workflow
from aiki_workflow import events
from examples.language.waiting import until

EXPECTED = ["cancelled: child, parent", "in time: child, parent", "failed: child, parent"]


@task
async def clean(who: str) -> str:
    """Must happen."""
    return who


@task
async def breaks() -> None:
    """Ends the others."""
    raise Failure("broken")


@workflow
async def slow(at: str) -> None:
    """Until it is stopped; cleans up for a while."""
    try:
        await sleep("1d")
    finally:
        await sleep("10ms")
        await clean("child")


@workflow
async def stops(how: str) -> str:
    """A child that is stopped; what comes after it is told."""
    try:
        if how == "in time":
            async with asyncio.timeout(0.1):
                await slow.with_(id=f"child {how}")(how)
        elif how == "failed":
            async with asyncio.TaskGroup() as group:
                group.create_task(_child(how))
                await sleep("50ms")
                group.create_task(_breaks())
        else:
            await slow.with_(id=f"child {how}")(how)
    except (TimeoutError, ExceptionGroup):
        return await clean("parent")
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(clean("parent")))
        raise
    return "not stopped"


async def _child(how: str) -> None:
    await slow.with_(id=f"child {how}")(how)


async def _breaks() -> None:
    await breaks()


async def scenario(client: Client) -> list[str]:
    """Who cleaned up, and in which order, for each way."""
    found: list[str] = []
    for how in ("cancelled", "in time", "failed"):
        run = await client.start(stops.with_(id=how), how)
        if how == "cancelled":
            await until(run.describe, lambda view: bool(view.children))
            await run.cancel("enough")
        with contextlib.suppress(RunCancelledError):
            await run.result("40s")
        cleaned: dict[str, int] = {}
        for each in (await client.run(f"child {how}"), run):
            async for event in each.history():
                if isinstance(event, events.TaskCompleted):
                    cleaned[event.output.data.decode().strip('"')] = event.at
        found.append(f"{how}: {', '.join(sorted(cleaned, key=cleaned.__getitem__))}")
    return found
