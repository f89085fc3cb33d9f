"""Three levels of runs; cancelling the first cleans all of them up."""

import asyncio

from aiki_client import Client, RunCancelledError, RunState
from aiki_sdk import sleep, task, workflow
from examples.language.waiting import until

EXPECTED = ["company", "department", "team"]


@task
async def release_budget(level: str) -> str:
    """Clean-up that must happen."""
    return level


@workflow
async def organisation(levels: list[str]) -> None:
    """Its first level, with the others as a child."""
    level, *below = levels
    try:
        if below:
            await organisation.with_(id=below[0])(below)
        else:
            await sleep("365d")
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(release_budget(level)))
        raise


async def scenario(client: Client) -> list[str]:
    """Who has cleaned up, by the histories."""
    company = await client.start(organisation.with_(id="company"), EXPECTED)

    async def states() -> dict[str, RunState]:
        return {view.workflow_id: view.state async for view in client.list(workflow="organisation")}

    await until(states, lambda found: found.get("team") is RunState.WAITING)
    await company.cancel("the company is sold")
    cleaned_up: list[str] = []
    for level in EXPECTED:
        run = await client.run(level)
        try:
            await run.result("50s")
        except RunCancelledError:
            cleaned_up += [level for found in (await run.describe()).tasks if found.state == "completed"]
    return cleaned_up
