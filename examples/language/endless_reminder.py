"""Reminds for ever, in runs of a few reminders each, so that no history grows long."""

from aiki_client import Client
from aiki_sdk import signal, sleep, task, workflow

stop = signal("stop_reminding", int)
IN_ONE_RUN = 3
EXPECTED = "stopped after 7"


@task
async def remind(number: int) -> int:
    """Send one."""
    return number


@workflow
async def endless_reminder(sent: int, until: int) -> str:
    """For the example it ends after *until*."""
    for _ in range(IN_ONE_RUN):
        await sleep("5ms")
        sent = await remind(sent + 1)
        if sent == until:
            return f"stopped after {sent}"
    return endless_reminder.continue_as_new(sent, until)


async def scenario(client: Client) -> str:
    """Three runs that look like one."""
    return await (await client.start(endless_reminder.with_(id="reminder"), 0, 7)).result("50s")
