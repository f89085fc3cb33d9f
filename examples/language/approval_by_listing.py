"""People find what waits for them in the listing, by what runs have published."""

from aiki_client import Client, RunState
from aiki_sdk import publish, signal, workflow
from examples.language.waiting import until

approved = signal("approved_by", str)
EXPECTED = ["expense-0 by grace", "expense-1 by grace"]


@workflow
async def expense(amount: int) -> str:
    """Waits for whoever looks."""
    publish("waiting_for", {"role": "manager", "amount": amount})
    who = await approved.wait()
    publish("waiting_for", None)
    return who


async def scenario(client: Client) -> list[str]:
    """Grace goes over all that wait."""
    for number in range(2):
        await client.start(expense.with_(id=f"expense-{number}"), 100 * number)

    async def waiting() -> list[str]:
        found = client.list(workflow="expense", states=[RunState.WAITING])
        return sorted([view.workflow_id async for view in found])

    ids = await until(waiting, lambda found: len(found) == 2)
    done: list[str] = []
    for workflow_id in ids:
        run = await client.run(workflow_id, expense)
        assert b"manager" in (await run.describe()).published["waiting_for"].data
        await run.signal(approved, "grace")
        done.append(f"{workflow_id} by {await run.result('50s')}")
    return done
