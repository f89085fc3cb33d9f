"""A deadline that can be moved while a run waits for it."""

import asyncio

from aiki_client import Client
from aiki_sdk import main, now, query, update, workflow

EXPECTED = ["moved to 1000.0 s", "rang after 2 settings"]


@workflow
class Alarm:
    """Rings when its time has come."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.settings = 1
        self.changed = asyncio.Event()

    @main
    async def run(self, seconds: float) -> str:
        """Wait, and again whenever the time is changed."""
        self.seconds = seconds
        started = now().timestamp()
        while (left := started + self.seconds - now().timestamp()) > 0:
            self.changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self.changed.wait()
            except TimeoutError:
                break
        return f"rang after {self.settings} settings"

    @update
    async def set(self, seconds: float) -> str:
        """Another time, counted from the start."""
        self.seconds = seconds
        if seconds:
            self.settings += 1
        self.changed.set()
        return f"moved to {seconds} s"

    @query
    def due_in(self) -> float:
        """How long after its start."""
        return self.seconds


async def scenario(client: Client) -> list[str]:
    """From an hour to a thousand seconds, then to now."""
    run = await client.start(Alarm.run.with_(id="alarm"), 3600.0)
    moved = await run.update(Alarm.set, 1000.0)
    assert await run.query(Alarm.due_in) == 1000.0
    await run.update(Alarm.set, 0.0)
    return [moved, await run.result("50s")]
