"""For the scenarios: wait for what a run shows."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")
GIVE_UP_SECONDS: Final = 50.0


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """What *look* finds once *holds* says yes.

    Raises:
        TimeoutError: it does not within 50 s.
    """
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while not holds(found := await look()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited in vain: {found}")
        await asyncio.sleep(0.02)
    return found
