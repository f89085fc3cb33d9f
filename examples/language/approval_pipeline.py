"""A document passes several desks; each has a week, and silence is a no."""

from aiki_client import Client
from aiki_sdk import signal, task, workflow

decision = signal("decision", bool)
EXPECTED = ["approved by 3", "rejected at legal"]


@task
async def ask_desk(desk: str, document: str) -> str:
    """Tell the desk that it is its turn."""
    return f"{desk}: please look at {document}"


@workflow
async def approval_pipeline(document: str, desks: list[str]) -> str:
    """Desk after desk."""
    for desk in desks:
        await ask_desk(desk, document)
        if not await decision.wait(timeout="7d", default=False):
            return f"rejected at {desk}"
    return f"approved by {len(desks)}"


async def scenario(client: Client) -> list[str]:
    """One that passes, and one that does not."""
    desks = ["team", "legal", "finance"]
    good = await client.start(approval_pipeline.with_(id="good"), "contract", desks)
    bad = await client.start(approval_pipeline.with_(id="bad"), "rumour", desks)
    for run, decisions in ((good, [True, True, True]), (bad, [True, False])):
        for value in decisions:
            await run.signal(decision, value)
    return [await good.result("50s"), await bad.result("50s")]
