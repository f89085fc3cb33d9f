"""Wait for a condition; never for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.02
GIVE_UP_SECONDS = 30.0


async def eventually(
    holds: Callable[[], Awaitable[bool]], what: str, seconds: float = GIVE_UP_SECONDS
) -> None:
    """Return when *holds* does; fail, naming *what* was waited for, when the time is up."""
    give_up_at = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > give_up_at:
            message = f"not within {seconds:g} s: {what}"
            raise AssertionError(message)
        await asyncio.sleep(POLL_SECONDS)
